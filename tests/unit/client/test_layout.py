"""Which agents a local fleet starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import THREADS_SOFTWARE, DeviceKind, SoftwareVersion
from polyrhythm_client.cli.own_fleet import FleetChoice, local_model
from polyrhythm_client.local.layout import (
    AGENTS_MAX,
    AgentLayout,
    cores_by_share,
    cpu_layout,
    cuda_layout,
    emulated_layout,
    replay_layout,
)
from polyrhythm_client.local.programs import agent_arguments
from polyrhythm_client.recipes.recipe import AgentRecord
from tests.fakes.coordinator import plan

CORES = (2, 3)


def record(agent: str, speed: float | None = None, threads: int | None = 1, *, cuda: bool = False) -> AgentRecord:
    kind = DeviceKind.CUDA if cuda else DeviceKind.CPU
    software = () if threads is None else (SoftwareVersion(name=THREADS_SOFTWARE, version=str(threads)),)
    return AgentRecord(agent=AgentId(agent), kind=kind, emulated_speed=speed, dtype="float32", software=software)


def test_a_machine_is_not_flooded_with_agents() -> None:
    assert len(cpu_layout(AGENTS_MAX, CORES)) == len(emulated_layout((0.01,) * AGENTS_MAX, CORES)) == AGENTS_MAX
    with pytest.raises(InvalidArgumentError, match=r"agents: must be 1\.\.64, got 65"):
        cpu_layout(AGENTS_MAX + 1, CORES)
    with pytest.raises(InvalidArgumentError, match="speeds: must name at most 64 agents, got 65"):
        emulated_layout((0.01,) * (AGENTS_MAX + 1), CORES)


def test_a_plan_starts_no_more_agents_than_a_person_may() -> None:
    with pytest.raises(InvalidArgumentError, match="plan: names 3000 agents, and this machine starts at most 64"):
        replay_layout(plan([f"local-{index}" for index in range(3000)], rows=3000), (), CORES, (), {})


@pytest.mark.parametrize("name", ["--help", "a b", "a-" + "9" * 5000, "a\0"])
def test_a_plan_whose_agents_cannot_be_called_so_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="plan: no agent can be called"):
        replay_layout(plan((name, "b")), (), CORES, (), {})


@pytest.mark.parametrize("model", ["a" * 5000, "~nobody-is-called-so/m", "a\0b/c/d", "none/such/folder"])
def test_a_model_that_can_be_no_path_is_refused(model: str) -> None:
    with pytest.raises(InvalidArgumentError, match="model: "):
        local_model(FleetChoice(model=model))


def test_emulated_agents_get_a_core_each_as_far_as_they_go() -> None:
    agents = emulated_layout((1.0, 0.8, 0.75), CORES)  # no two of them fit on one core
    assert [(a.agent, a.pin_core, a.threads, a.emulate_speed) for a in agents] == [
        ("local-0", 2, 1, 1.0),
        ("local-1", 3, 1, 0.8),
        ("local-2", 2, 1, 0.75),
    ]


@pytest.mark.parametrize(
    ("speeds", "cores"),
    [
        ((0.5, 0.25), (2, 3)),
        ((1.0, 0.5, 0.5), (2, 3, 3)),
        ((0.5, 1.0, 0.5), (3, 2, 3)),
        ((0.5, 0.5, 0.5, 0.25), (2, 2, 3, 3)),
        ((0.4, 0.7, 0.6, 0.3), (3, 2, 3, 2)),
    ],
)
def test_agents_that_share_a_core_take_nothing_from_each_other(
    speeds: tuple[float, ...], cores: tuple[int, ...]
) -> None:
    assert cores_by_share(speeds, CORES) == cores
    assert tuple(agent.pin_core for agent in emulated_layout(speeds, CORES)) == cores


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6), st.integers(1, 4))
def test_shares_of_a_core_never_exceed_it(speeds: list[float], count: int) -> None:
    pins = cores_by_share(speeds, range(count))
    if pins is None:
        assert sum(speeds) > count / 2  # what is not placed finds every core more than half full, or is large itself
        return
    for core in range(count):
        assert sum(speed for speed, pin in zip(speeds, pins, strict=True) if pin == core) <= 1.0 + 1e-6


@pytest.mark.parametrize("speeds", [(), (0.0,), (1e-300,), (1.0, -0.5), (1.5,), (float("nan"),)])
def test_impossible_speeds_are_refused(speeds: tuple[float, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="speeds: "):
        emulated_layout(speeds, CORES)


def test_cpu_agents_share_the_cores() -> None:
    assert [a.threads for a in cpu_layout(1, CORES)] == [2]
    assert [a.threads for a in cpu_layout(3, CORES)] == [1, 1, 1]
    with pytest.raises(InvalidArgumentError, match="agents: "):
        cpu_layout(0, CORES)


def test_one_agent_a_cuda_device() -> None:
    devices = ("cuda:0", "cuda:1")
    assert [(a.agent, a.device, a.threads) for a in cuda_layout(devices)] == [
        ("local-0", "cuda:0", None),
        ("local-1", "cuda:1", None),
    ]
    assert len(cuda_layout(devices, 1)) == 1
    with pytest.raises(InvalidArgumentError, match="agents: 3 are more than the 2"):
        cuda_layout(devices, 3)


def test_a_replay_starts_the_agents_that_the_plan_names() -> None:
    followed = plan(("local-2", "local-0"))
    agents = replay_layout(followed, (record("local-0"), record("local-2", 0.5)), CORES, (), {})
    assert [(a.agent, a.emulate_speed, a.threads, a.pin_core) for a in agents] == [
        ("local-0", None, 1, 2),
        ("local-2", 0.5, 1, 3),
    ]


def test_a_replay_keeps_the_threads_of_a_single_device() -> None:
    (agent,) = replay_layout(plan(("local-0",)), (record("local-0", threads=4),), CORES, (), {})
    assert (agent.threads, agent.pin_core) == (4, None)
    (agent,) = replay_layout(plan(("local-0",)), (), CORES, (), {})
    assert agent.threads == len(CORES)


def test_a_replay_needs_the_devices_that_were_there() -> None:
    records = (record("local-0", cuda=True), record("local-1", cuda=True))
    agents = replay_layout(plan(), records, CORES, ("cuda:0", "cuda:1"), {AgentId("local-1"): "float16"})
    assert [(a.device, a.dtype) for a in agents] == [("cuda:0", None), ("cuda:1", "float16")]
    with pytest.raises(InvalidArgumentError, match="plan: was followed on 2 CUDA devices, this machine has 1"):
        replay_layout(plan(), records, CORES, ("cuda:0",), {})


def test_agent_arguments_leave_out_what_is_not_said() -> None:
    agent = AgentLayout(agent=AgentId("local-0"), device="cuda:0")
    assert agent_arguments(agent, "127.0.0.1:5", "demo") == (
        *("--coordinator=127.0.0.1:5", "--name=local-0", "--model=demo", "--start-attempts=3", "--device=cuda:0"),
    )
