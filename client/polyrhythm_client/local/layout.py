"""What to start on this machine: the agents' names, devices, threads, cores, speeds. Pure.

Names are part of a plan, so the same options give the same names: ``local-0``, ``local-1``, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId, check_agent_name
from polyrhythm.model.facts import EMULATED_SPEED_MIN, DeviceKind
from polyrhythm.model.shipped_models import DEFAULT_MODEL
from polyrhythm.plan.plan import Plan
from polyrhythm_client.recipes.recipe import AgentRecord

CPU = "cpu"
AGENTS_MAX = 64
"""Of one machine's own fleet, as many as plans are made for: each is a process that loads the model."""
SHARE_ROUNDING = 1e-9
"""Shares such as 0.4 + 0.6 fill a core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLayout:
    """One agent to start.

    Attributes:
        agent: its name.
        device: ``cpu`` or ``cuda:N``.
        threads: compute threads of a CPU; None on a GPU.
        pin_core: core that it is bound to; None for any.
        emulate_speed: share of its true speed; None to run freely.
        dtype: arithmetic of a picture to make again; None leaves it to the user and the agent.
        environment: variables beside those of this process, as ``(name, value)``.
    """

    agent: AgentId
    device: str
    threads: int | None = None
    pin_core: int | None = None
    emulate_speed: float | None = None
    dtype: str | None = None
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLayout:
    """What to start.

    Attributes:
        agents: at least one.
        model: name of one that ships, a path, or a model of the hub.
        port: of the coordinator; 0 for any that is free, None to leave it to the coordinator and its variable.
        loading: options of an agent that say how the model is loaded, by name; None where nothing was said.
    """

    agents: tuple[AgentLayout, ...]
    model: str = DEFAULT_MODEL
    port: int | None = 0
    loading: Mapping[str, object] = field(default_factory=dict[str, object])


def cores_by_share(speeds: Sequence[float], cores: Sequence[int]) -> tuple[int, ...] | None:
    """A core for each emulated device, so that shares on one core sum to at most 1: none takes another's time.

    A core each where they go round. Beyond that the largest share goes first, to the core with the least room that is
    enough for it.

    Args:
        speeds: shares of the true speed.
        cores: that may be used.

    Returns:
        A core a speed; None where no room was found for one of them.
    """
    if len(speeds) <= len(cores):
        return tuple(cores[: len(speeds)])
    room = dict.fromkeys(cores, 1.0)
    placed: dict[int, int] = {}
    for index in sorted(range(len(speeds)), key=lambda index: (-speeds[index], index)):
        able = [core for core in cores if room[core] >= speeds[index] - SHARE_ROUNDING]
        if not able:
            return None
        core = min(able, key=lambda core: room[core])
        room[core] -= speeds[index]
        placed[index] = core
    return tuple(placed[index] for index in range(len(speeds)))


def emulated_layout(speeds: Sequence[float], cores: Sequence[int]) -> tuple[AgentLayout, ...]:
    """One agent a speed, with one thread on a core of its own or, where cores do not go round, with room on one.

    Where there is no room for all (``cores_by_share``), agents are dealt out in turn and disturb each other.

    Args:
        speeds: shares of the true speed.
        cores: that this process may use.

    Raises:
        InvalidArgumentError: no speed is given, too many are, or one is not from ``EMULATED_SPEED_MIN`` to 1.
    """
    if not speeds:
        raise InvalidArgumentError.of("speeds", "must name at least one agent, such as 1,0.5")
    if len(speeds) > AGENTS_MAX:
        raise InvalidArgumentError.of("speeds", f"must name at most {AGENTS_MAX} agents, got {len(speeds)}")
    for speed in speeds:
        if not EMULATED_SPEED_MIN <= speed <= 1.0:
            raise InvalidArgumentError.of("speeds", f"each must be from {EMULATED_SPEED_MIN:g} to 1, got {speed:g}")
    pins = cores_by_share(speeds, cores) or tuple(cores[index % len(cores)] for index in range(len(speeds)))
    return tuple(
        AgentLayout(agent=agent_of(index), device=CPU, threads=1, pin_core=pin, emulate_speed=float(speed))
        for index, (speed, pin) in enumerate(zip(speeds, pins, strict=True))
    )


def cpu_layout(count: int, cores: Sequence[int]) -> tuple[AgentLayout, ...]:
    """Agents that share the cores of this machine evenly; a single one takes all of them.

    Raises:
        InvalidArgumentError: fewer than one agent, or more than ``AGENTS_MAX``, are asked for.
    """
    _check_count(count)
    threads = max(1, len(cores) // count)
    return tuple(AgentLayout(agent=agent_of(index), device=CPU, threads=threads) for index in range(count))


def cuda_layout(devices: Sequence[str], count: int | None = None) -> tuple[AgentLayout, ...]:
    """One agent a CUDA device.

    Args:
        devices: such as ``cuda:0``, at least one.
        count: how many of them; None for all.

    Raises:
        InvalidArgumentError: fewer than one agent, or more agents than devices, are asked for.
    """
    count = len(devices) if count is None else count
    _check_count(count)
    if count > len(devices):
        raise InvalidArgumentError.of(
            "agents", f"{count} are more than the {len(devices)} CUDA devices of this machine"
        )
    return tuple(AgentLayout(agent=agent_of(index), device=device) for index, device in enumerate(devices[:count]))


def replay_layout(
    plan: Plan,
    records: Sequence[AgentRecord],
    cores: Sequence[int],
    devices: Sequence[str],
    dtypes: Mapping[AgentId, str],
) -> tuple[AgentLayout, ...]:
    """The agents that a plan names, as they were when it was followed.

    Args:
        plan: to follow again.
        records: of its agents; those of a bare plan are taken for CUDA devices where this machine has some.
        cores: that this process may use.
        devices: CUDA devices of this machine.
        dtypes: arithmetic of each agent, as far as it is known.

    Raises:
        InvalidArgumentError: the plan names more agents than are started, one whose name none can have, or needs more
            CUDA devices than there are.
    """
    _check_agents(plan)
    held = {record.agent: record for record in records}
    unknown = DeviceKind.CUDA if devices else DeviceKind.CPU
    agents = sorted(plan.agents, key=_position)
    on_cuda = [agent for agent in agents if (held[agent].kind if agent in held else unknown) is DeviceKind.CUDA]
    if len(on_cuda) > len(devices):
        raise InvalidArgumentError.of(
            "plan", f"was followed on {len(on_cuda)} CUDA devices, this machine has {len(devices)}"
        )
    layouts = {agent: AgentLayout(agent=agent, device=device) for agent, device in zip(on_cuda, devices, strict=False)}
    emulated = any(record.emulated_speed is not None for record in records)
    all_cores = len(cores) if len(agents) == 1 and not emulated else 1
    for index, agent in enumerate(agents):
        if agent not in layouts:
            layouts[agent] = _on_cpu(agent, held.get(agent), all_cores, cores[index % len(cores)])
    return tuple(replace(layouts[agent], dtype=dtypes.get(agent)) for agent in agents)


def _on_cpu(agent: AgentId, record: AgentRecord | None, default_threads: int, core: int) -> AgentLayout:
    """An agent as it was, on a core of its own if it has one thread."""
    threads = (record and record.threads) or default_threads
    return AgentLayout(
        agent=agent,
        device=CPU,
        threads=threads,
        pin_core=core if threads == 1 else None,
        emulate_speed=record.emulated_speed if record else None,
    )


def agent_of(index: int) -> AgentId:
    """Name of a local agent, counted from 0."""
    return AgentId(f"local-{index}")


def _check_agents(plan: Plan) -> None:
    if len(plan.agents) > AGENTS_MAX:
        message = (
            f"names {len(plan.agents)} agents, and this machine starts at most {AGENTS_MAX}; name a fleet's --address"
        )
        raise InvalidArgumentError.of("plan", message)
    for agent in plan.agents:
        try:
            check_agent_name(agent)
        except ValueError as error:
            raise InvalidArgumentError.of("plan", f"no agent can be called {agent!a}: {error}") from error


def _position(agent: AgentId) -> tuple[str, int, str]:
    stem, _, number = agent.rpartition("-")
    return (stem, int(number), "") if number.isdecimal() else (agent, -1, agent)


def _check_count(count: int) -> None:
    if not 1 <= count <= AGENTS_MAX:
        raise InvalidArgumentError.of("agents", f"must be 1..{AGENTS_MAX}, got {count}")
