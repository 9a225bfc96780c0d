"""What a fleet of the command's own consists of: its model and its agents, by what the user said and what is here.

Every choice that the user did not spell out is said by a note.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.facts import DeviceKind
from polyrhythm.model.hub_id import WEIGHTS_SUFFIX, read_hub_id
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm.process.roles import Role, require_roles
from polyrhythm_client.address import DEFAULT_ADDRESS, checked_address, said_by
from polyrhythm_client.cli.options import FleetOptions
from polyrhythm_client.local.devices import CudaDevices, chosen_devices, find_cuda_devices
from polyrhythm_client.local.layout import (
    CPU,
    AgentLayout,
    cpu_layout,
    cuda_layout,
    emulated_layout,
    replay_layout,
)
from polyrhythm_client.local.programs import Executables
from polyrhythm_client.local.variables import MODEL_VARIABLE, check_daemon_variables
from polyrhythm_client.parsing import parse_gpus, parse_speeds
from polyrhythm_client.recipes.recipe import Recipe
from polyrhythm_client.recipes.replay import recorded_dtypes

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChoice:
    """What the user said about the fleet.

    Attributes:
        options: as written.
        model: name, or folder for a fleet of the command's own; None if not said.
        recipe: of a picture to make again; None for a new one.
        default_address: where to look for a fleet if nothing is said, as ``HOST:PORT``.
    """

    options: FleetOptions = field(default_factory=FleetOptions)
    model: str | None = None
    recipe: Recipe | None = None
    default_address: str = DEFAULT_ADDRESS


def check_choice(choice: FleetChoice) -> None:
    """Checks what needs no fleet.

    Raises:
        InvalidArgumentError: names the option.
    """
    options = choice.options
    if options.address is not None:
        checked_address(options.address)
        for name in options.of_own_fleet:
            message = f"starts a fleet of its own and cannot go with {said_by(options.address)} {options.address}"
            raise InvalidArgumentError.of(name, message)
    if options.speeds is not None:
        parse_speeds(options.speeds)
    if options.gpus is not None:
        parse_gpus(options.gpus)
        if options.speeds is not None:
            raise InvalidArgumentError.of("gpus", "goes without speeds, which are of agents on the CPU")
    if options.of_own_fleet:
        local_model(choice)


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
    choice: FleetChoice, executables: Executables, note: Note, count: int | None = None
) -> tuple[AgentLayout, ...]:
    """The agents of a fleet of the command's own.

    Args:
        choice: what the user said.
        executables: how to ask for CUDA devices.
        note: called with what was chosen and why.
        count: of agents; None for what the machine suggests.

    Raises:
        InvalidArgumentError: the machine has not what is asked for.
    """
    options, cores = choice.options, tuple(sorted(os.sched_getaffinity(0)))
    if options.speeds is not None:
        agents, reason = emulated_layout(parse_speeds(options.speeds), cores), "no GPU is used"
    else:
        cuda = await find_cuda_devices(executables.agent)
        if options.gpus is not None:
            cuda = chosen_devices(cuda, options.gpus)
        if choice.recipe is not None:
            agents, reason = _agents_of(choice.recipe, options, cores, cuda), "the agents that the plan names"
        elif cuda.devices:
            agents, reason = cuda_layout(cuda.devices, count), ", ".join(cuda.names)
        else:
            agents = cpu_layout(1 if count is None else count, cores)
            reason = f"no CUDA device: {cuda.absence}" if cuda.absence else "no CUDA device"
    note(describe_layout(agents, reason))
    return agents


def _agents_of(
    recipe: Recipe, options: FleetOptions, cores: tuple[int, ...], cuda: CudaDevices
) -> tuple[AgentLayout, ...]:
    """The agents that made a picture.

    Raises:
        InvalidArgumentError: the machine has not what the plan needs, or CUDA devices are chosen and it needs none.
    """
    if options.gpus is not None and not any(agent.kind is DeviceKind.CUDA for agent in recipe.agents):
        raise InvalidArgumentError.of("gpus", "the plan was computed on no GPU; leave it out")
    return replay_layout(recipe.plan, recipe.agents, cores, cuda.devices, recorded_dtypes(recipe))


def describe_layout(agents: tuple[AgentLayout, ...], reason: str) -> str:
    """One sentence about a fleet that is being started; emulated speeds are called so."""
    speeds = [1.0 if agent.emulate_speed is None else agent.emulate_speed for agent in agents]
    if any(speed < 1.0 for speed in speeds):
        listed = " : ".join(f"{speed:g}" for speed in speeds)
        return (
            f"starting a local fleet ({reason}): {len(agents)} on the CPU at EMULATED speeds {listed}, one thread "
            "each; every figure below is of emulated devices"
        )
    parts = [f"{agent.agent} on {agent.device}" + (_threads(agent) if agent.device == CPU else "") for agent in agents]
    return f"starting a local fleet ({reason}): {', '.join(parts)}"


def _threads(agent: AgentLayout) -> str:
    return " (1 thread)" if agent.threads == 1 else f" ({agent.threads} threads)"


def local_model(choice: FleetChoice) -> str:
    """The model that agents of a fleet of the command's own load: one that ships, a path, or a model of the hub.

    The user's word goes before the recipe's, and that before the agents' variable. Only agents can say whether there
    is a model at the path, or on the hub.

    Raises:
        InvalidArgumentError: it is none of these.
    """
    recorded = (choice.recipe.request.model or None) if choice.recipe is not None else None
    variable = os.environ.get(MODEL_VARIABLE) if choice.model is None and recorded is None else None
    model = next((said for said in (choice.model, recorded, variable) if said is not None), DEFAULT_MODEL)
    if model in SHIPPED_MODELS or _lies_here(model):
        return model
    if read_hub_id(model) is not None:
        return model
    if choice.model is None and variable is None:
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
