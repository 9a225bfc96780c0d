"""Which fleet a command uses: the one at an address, the one that answers by default, or one of its own.

Every choice that the user did not spell out is said on standard error.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError, UnreachableError
from polyrhythm.model.facts import DeviceKind
from polyrhythm.model.hub_id import WEIGHTS_SUFFIX, read_hub_id
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm.process.roles import Role, require_roles
from polyrhythm_client.address import DEFAULT_ADDRESS, checked_address, said_by
from polyrhythm_client.client import Client
from polyrhythm_client.local.devices import CudaDevices, find_cuda_devices
from polyrhythm_client.local.fleet import Executables, FleetLayout, LocalFleet
from polyrhythm_client.local.layout import (
    CPU,
    AgentLayout,
    cpu_layout,
    cuda_layout,
    emulated_layout,
    replay_layout,
)
from polyrhythm_client.local.own_agents import NOTHING_SAID, OwnAgents, chosen_devices
from polyrhythm_client.local.variables import MODEL_VARIABLE, check_daemon_variables
from polyrhythm_client.parsing import parse_gpus
from polyrhythm_client.recipes.recipe import Recipe
from polyrhythm_client.recipes.replay import recorded_dtypes

CONNECT_S = 0.5
ANSWER_S = 5.0

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetWish:
    """What the user said about the fleet.

    Attributes:
        address: of a coordinator; None if not said.
        speeds: emulated speeds of a fleet of the command's own; None if not said.
        model: name, or folder for a fleet of the command's own; None if not said.
        recipe: of a picture to make again; None for a new one.
        own: what the user said about the agents of a fleet of the command's own.
        default_address: where to look for a fleet if nothing is said, as ``HOST:PORT``.
    """

    address: str | None = None
    speeds: tuple[float, ...] | None = None
    model: str | None = None
    recipe: Recipe | None = None
    own: OwnAgents = NOTHING_SAID
    default_address: str = DEFAULT_ADDRESS

    @property
    def of_own_fleet(self) -> tuple[str, ...]:
        """Names of what was said that means a fleet of the command's own."""
        return (*(("speeds",) if self.speeds is not None else ()), *(name.replace("_", "-") for name in self.own.given))


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetInUse:
    """A fleet that answers.

    Attributes:
        address: of its coordinator.
        embedded: whether this command started it and will end it.
    """

    address: str
    embedded: bool


def check_wish(wish: FleetWish) -> None:
    """Checks what needs no fleet.

    Raises:
        InvalidArgumentError: names the option.
    """
    if wish.address is not None:
        checked_address(wish.address)
        for name in wish.of_own_fleet:
            told = f"starts a fleet of its own and cannot go with {said_by(wish.address)} {wish.address}"
            raise InvalidArgumentError.of(name, told)
    if wish.own.gpus is not None:
        parse_gpus(wish.own.gpus)
        if wish.speeds is not None:
            raise InvalidArgumentError.of("gpus", "goes without speeds, which are of agents on the CPU")
    if wish.of_own_fleet:
        local_model(wish)


@asynccontextmanager
async def open_fleet(
    wish: FleetWish, note: Note, executables: Executables | None = None, *, progress: Note = lambda _: None
) -> AsyncGenerator[FleetInUse]:
    """Finds or starts the fleet; one that was started is gone when the context ends.

    Args:
        wish: what the user said.
        note: told what was chosen and why, and what goes wrong with an agent.
        executables: how a fleet of its own is started.
        progress: told how far the start of a fleet of its own has come.

    Raises:
        PolyrhythmError: it cannot be started.
    """
    if wish.address is not None:
        yield FleetInUse(address=wish.address, embedded=False)
        return
    if not wish.of_own_fleet and await _answers(wish.default_address, note):
        note(f"using the fleet at {wish.default_address}")
        yield FleetInUse(address=wish.default_address, embedded=False)
        return
    require_fleet(own_port=True)
    model = local_model(wish)
    executables = executables or Executables()
    layout = FleetLayout(agents=await choose_agents(wish, executables, note), model=model, own=wish.own)
    fleet = LocalFleet(
        layout,
        executables=executables,
        on_change=lambda change: note(f"agent {change.agent} {change.told}") if change.trouble else None,
        on_loaded=lambda loaded: progress(loading_line(loaded, len(layout.agents))),
    )
    async with fleet:
        try:
            yield FleetInUse(address=fleet.address, embedded=True)
        except UnreachableError as error:
            raise await fleet.coordinator_end() or error from error


def loading_line(loaded: int, agents: int) -> str:
    """How far the start of a fleet has come, while it loads."""
    return "the fleet is ready" if loaded == agents else f"loading the model: {loaded + 1} of {agents}"


def require_fleet(*, own_port: bool) -> None:
    """Checks that this installation can start a fleet, and that no variable says what the fleet cannot obey.

    Args:
        own_port: whether it listens on a port of its own, whatever the user says.

    Raises:
        RoleMissingError: it cannot; says what to install.
        InvalidArgumentError: names the variable, and what to say instead.
    """
    require_roles("a fleet on this machine", Role.COORDINATOR, Role.AGENT)
    check_daemon_variables(os.environ, own_port=own_port)


async def choose_agents(
    wish: FleetWish, executables: Executables, note: Note, count: int | None = None
) -> tuple[AgentLayout, ...]:
    """The agents of a fleet of the command's own.

    Args:
        wish: what the user said.
        executables: how to ask for CUDA devices.
        note: told what was chosen and why.
        count: of agents; None for what the machine suggests.

    Raises:
        InvalidArgumentError: the machine has not what is asked for.
    """
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if wish.speeds is not None:
        agents = emulated_layout(wish.speeds, cores)
        note(describe_layout(agents, "no GPU is used"))
        return agents
    cuda = await find_cuda_devices(executables.agent)
    if wish.own.gpus is not None:
        cuda = chosen_devices(cuda, wish.own.gpus)
    if wish.recipe is not None and wish.recipe.request.plan is not None:
        if wish.own.gpus is not None and not any(agent.kind is DeviceKind.CUDA for agent in wish.recipe.agents):
            raise InvalidArgumentError.of("gpus", "the plan was computed on no GPU; leave it out")
        agents = replay_layout(
            wish.recipe.request.plan, wish.recipe.agents, cores, cuda.devices, recorded_dtypes(wish.recipe)
        )
        note(describe_layout(agents, "the agents that the plan names"))
        return agents
    agents = cuda_layout(cuda.devices, count) if cuda.devices else cpu_layout(1 if count is None else count, cores)
    note(describe_layout(agents, _devices_found(cuda)))
    return agents


def describe_layout(agents: tuple[AgentLayout, ...], why: str) -> str:
    """One sentence about a fleet that is being started; emulated speeds are called so."""
    speeds = [1.0 if agent.emulate_speed is None else agent.emulate_speed for agent in agents]
    if any(speed < 1.0 for speed in speeds):
        listed = " : ".join(f"{speed:g}" for speed in speeds)
        return (
            f"starting a local fleet ({why}): {len(agents)} on the CPU at EMULATED speeds {listed}, one thread each; "
            "every figure below is of emulated devices"
        )
    parts = [f"{agent.agent} on {agent.device}" + (_threads(agent) if agent.device == CPU else "") for agent in agents]
    return f"starting a local fleet ({why}): {', '.join(parts)}"


def _threads(agent: AgentLayout) -> str:
    return " (1 thread)" if agent.threads == 1 else f" ({agent.threads} threads)"


def local_model(wish: FleetWish) -> str:
    """The model that agents of a fleet of the command's own load: one that ships, a path, or a model of the hub.

    The user's word goes before the recipe's, and that before the agents' variable. Only agents can say whether there
    is a model at the path, or on the hub.

    Raises:
        InvalidArgumentError: it is none of these.
    """
    recorded = (wish.recipe.request.model or None) if wish.recipe is not None else None
    variable = os.environ.get(MODEL_VARIABLE) if wish.model is None and recorded is None else None
    model = next((said for said in (wish.model, recorded, variable) if said is not None), DEFAULT_MODEL)
    if model in SHIPPED_MODELS or _lies_here(model):
        return model
    if read_hub_id(model) is not None:
        return model
    if wish.model is None and variable is None:
        raise InvalidArgumentError.of("model", f"the plan's picture was made with {model!r}: give its folder")
    raise InvalidArgumentError.of(
        "model" if variable is None else MODEL_VARIABLE,
        f"{model!r} is neither a model that ships ({', '.join(SHIPPED_MODELS)}) nor a folder or a {WEIGHTS_SUFFIX} "
        "checkpoint on this machine, nor ORG/NAME of the Hugging Face hub",
    )


def _lies_here(model: str) -> bool:
    """Whether a folder or a checkpoint file is at a path; none is at one that cannot be."""
    try:
        path = Path(model).expanduser()
        return (path.is_dir() and model != "") or (path.suffix == WEIGHTS_SUFFIX and path.is_file())
    except (OSError, RuntimeError, ValueError):  # too long, the home of a stranger, a NUL
        return False


def _devices_found(cuda: CudaDevices) -> str:
    if cuda.devices:
        return ", ".join(cuda.names)
    return f"no CUDA device: {cuda.absence}" if cuda.absence else "no CUDA device"


async def _answers(address: str, note: Note) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    try:
        async with Client(address, query_deadline_s=ANSWER_S) as client:
            await client.agents()
    except PolyrhythmError as error:
        note(f"something listens on {address}, but it is no coordinator that answers ({error})")
        return False
    return True
