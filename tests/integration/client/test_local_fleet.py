"""A local fleet's processes: started, watched, and gone afterwards, whatever happens. Roles are played by fakes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from polyrhythm.errors import ErrorCode
from polyrhythm.fleet import AgentState
from polyrhythm_client.cli.commands.up import UpOptions, keep_fleet
from polyrhythm_client.cli.fleet_in_use import open_fleet
from polyrhythm_client.cli.options import FleetOptions
from polyrhythm_client.cli.own_fleet import FleetChoice, choose_agents
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.local.agent_changes import AgentChange
from polyrhythm_client.local.child import ChildEndedError
from polyrhythm_client.local.fleet import LocalFleet
from polyrhythm_client.local.layout import FleetLayout, cpu_layout
from polyrhythm_client.local.programs import Executables
from tests.fakes.coordinator import FakeCoordinator, agent_view, serving

ROOT = Path(__file__).parents[3]
EXECUTABLES = Executables(
    coordinator=(sys.executable, str(ROOT / "tests" / "fakes" / "coordinator.py")),
    agent=(sys.executable, str(ROOT / "tests" / "fakes" / "agent_program.py")),
)
LAYOUT = FleetLayout(agents=cpu_layout(2, (0,)))
GONE_S = 20.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_AGENTS", "local-0,local-1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Deaths:
    """Handles of processes of others: each becomes readable when its process has ended."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def watch(self, pid: int) -> int:
        handle = os.pidfd_open(pid)
        self._stack.callback(os.close, handle)
        return handle


@pytest.fixture
def deaths() -> Iterator[Deaths]:
    with ExitStack() as stack:
        yield Deaths(stack)


def assert_gone(handles: list[int]) -> None:
    for handle in handles:
        readable, _, _ = select.select([handle], [], [], GONE_S)
        assert readable, "a child outlived its fleet"


def test_the_stand_ins_start_without_the_heavy_parts() -> None:
    """Dozens of them are started; each would take seconds to import what none of them needs."""
    code = "import sys, tests.fakes.coordinator, tests.fakes.worker_process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


async def test_a_fleet_is_ready_and_then_gone(deaths: Deaths) -> None:
    addresses: list[str] = []
    changes: list[tuple[str, str]] = []
    loaded: list[int] = []
    fleet = LocalFleet(
        LAYOUT,
        executables=EXECUTABLES,
        on_coordinator=addresses.append,
        on_change=lambda change: changes.append((change.agent, change.message.split(":")[0])),
        on_loaded=loaded.append,
    )
    async with fleet:
        handles = [deaths.watch(pid) for pid in fleet.pids]
        assert len(handles) == 3
        assert addresses == [fleet.address]
        assert changes == [("local-0", "ready"), ("local-1", "ready")]
        assert loaded[-1] == 2
    assert_gone(handles)


async def test_nothing_is_left_after_an_error(deaths: Deaths) -> None:
    handles: list[int] = []

    async def fail() -> None:
        async with LocalFleet(LAYOUT, executables=EXECUTABLES) as fleet:
            handles.extend(deaths.watch(pid) for pid in fleet.pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert len(handles) == 3
    assert_gone(handles)


async def test_an_agent_that_refuses_its_options_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_AGENT_FAILS", "local-1")
    # The fake coordinator would call the dead agent ready at once: leave it out, so that only its end can be seen.
    monkeypatch.setenv("FAKE_AGENTS", "local-0")
    with pytest.raises(
        ChildEndedError, match=r"local-1 ended with exit code 2; it said:\n.*--model: no weights"
    ) as caught:
        async with LocalFleet(LAYOUT, executables=EXECUTABLES):
            pass
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


async def test_a_program_that_is_no_coordinator() -> None:
    broken = Executables(coordinator=(sys.executable, "-c", "raise SystemExit('no such module')"))
    with pytest.raises(ChildEndedError, match="coordinator ended with exit code 1; it said:\nno such module") as caught:
        async with LocalFleet(LAYOUT, executables=broken):
            pass
    assert caught.value.code is ErrorCode.INTERNAL


async def test_a_child_that_ends_by_itself_is_noticed() -> None:
    async with LocalFleet(LAYOUT, executables=EXECUTABLES) as fleet:
        lost: list[str] = []
        _, first, second = fleet.pids
        watching = asyncio.create_task(fleet.watch(lambda ended: lost.append(str(ended))))
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        assert "was ended by SIGKILL" in str(await watching)


COORDINATOR_ELSEWHERE = """
import os, sys
print("polyrhythm-coordinator ready on", sys.argv[1], flush=True)
os.read(int(sys.argv[sys.argv.index("--lifeline-fd") + 1]), 1)
"""


async def test_what_becomes_of_an_agent_that_was_ready_is_told() -> None:
    first, second = (agent_view(name) for name in ("local-0", "local-1"))
    fake = FakeCoordinator(agents=(first, second))
    changes: asyncio.Queue[AgentChange] = asyncio.Queue()
    with serving(fake) as address:
        coordinator = (sys.executable, "-c", COORDINATOR_ELSEWHERE, address)
        executables = Executables(coordinator=coordinator, agent=EXECUTABLES.agent)
        async with LocalFleet(LAYOUT, executables=executables, on_change=changes.put_nowait) as fleet:
            assert [changes.get_nowait().trouble for _ in range(2)] == [False, False]
            watching = asyncio.create_task(fleet.watch(lambda _: None))
            fake.agents = (replace(first, state=AgentState.LOADING, trouble="out of memory"), second)
            lost = await asyncio.wait_for(changes.get(), GONE_S)
            assert (lost.agent, lost.trouble) == ("local-0", True)
            assert lost.message == "lost its worker, and starts another one: out of memory"
            fake.agents = fake.agents[:1]
            lost = await asyncio.wait_for(changes.get(), GONE_S)
            assert (lost.agent, lost.message) == ("local-1", "lost: it is not connected any more")
            watching.cancel()


@pytest.mark.parametrize(
    ("log", "kept", "line"),
    [
        ("fleet.log", "fleet.log", "[local-0] polyrhythm-agent: --model: no weights"),
        ("fleet.log", "fleet.log", "[coordinator] logs what is info and above"),
        ("logs/", "logs/local-0.log", "polyrhythm-agent: --model: no weights"),
    ],
)
def test_up_keeps_what_its_processes_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str, kept: str, line: str
) -> None:
    monkeypatch.setenv("FAKE_AGENT_FAILS", "local-0")
    monkeypatch.setenv("FAKE_AGENTS", "")  # none is ready: the end of this one is what ends the command
    given = UpOptions(fleet=FleetOptions(speeds="1"), port=0, log=f"{tmp_path}/{log}")
    with pytest.raises(typer.Exit) as ended:
        run_command(lambda console: keep_fleet(given, console, EXECUTABLES), runs_until_signal=True)
    assert ended.value.exit_code == 2
    assert line in (tmp_path / kept).read_text().splitlines()


async def test_a_stopped_child_is_killed_after_the_grace(deaths: Deaths) -> None:
    async with LocalFleet(LAYOUT, executables=EXECUTABLES) as fleet:
        handles = [deaths.watch(pid) for pid in fleet.pids]
        os.kill(fleet.pids[1], signal.SIGSTOP)
    assert_gone(handles)


HOLDER = """
import asyncio, sys
from tests.integration.client.test_local_fleet import EXECUTABLES, LAYOUT
from polyrhythm_client.cli.interrupt import run_until_signal
from polyrhythm_client.local.fleet import LocalFleet

async def hold():
    async with LocalFleet(LAYOUT, executables=EXECUTABLES) as fleet:
        print(*fleet.pids, flush=True)
        await asyncio.Event().wait()

sys.exit(run_until_signal(hold()))
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else None,
)
def test_however_the_starter_ends_nothing_is_orphaned(deaths: Deaths, number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        handles = [deaths.watch(int(pid)) for pid in holder.stdout.readline().split()]
        assert len(handles) == 3
        holder.send_signal(number)
        assert holder.wait(GONE_S) == code
        assert_gone(handles)


async def test_a_running_fleet_is_used_and_said() -> None:
    notes: list[str] = []
    with serving(FakeCoordinator()) as address:
        async with open_fleet(FleetChoice(default_address=address), notes.append, EXECUTABLES) as fleet:
            assert (fleet.address, fleet.embedded) == (address, False)
    assert notes == [f"using the fleet at {address}"]


async def test_a_fleet_is_started_where_none_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_AGENTS", "local-0")
    notes: list[str] = []
    signs: list[str] = []
    # Port 1 is reserved: nobody listens there.
    choice = FleetChoice(default_address="127.0.0.1:1")
    async with open_fleet(choice, notes.append, EXECUTABLES, progress=signs.append) as fleet:
        assert fleet.embedded
    assert signs[-1] == "the fleet is ready"
    (note,) = notes
    assert "no CUDA device: this is a fake" in note
    assert "local-0 on cpu" in note


async def test_emulated_speeds_are_called_emulated() -> None:
    notes: list[str] = []
    agents = await choose_agents(FleetChoice(options=FleetOptions(speeds="1,0.5")), EXECUTABLES, notes.append)
    assert [agent.emulate_speed for agent in agents] == [1.0, 0.5]
    assert "EMULATED speeds 1 : 0.5" in notes[0]


CARDS = (
    '{"device": "cuda:0", "name": "A card", "uuid": "GPU-a1"}\n'
    '{"device": "cuda:1", "name": "An old card", "uuid": "GPU-b2"}\n'
)


async def test_only_the_cuda_devices_that_are_named_get_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DEVICES", CARDS)
    notes: list[str] = []
    agents = await choose_agents(FleetChoice(options=FleetOptions(gpus="GPU-b2")), EXECUTABLES, notes.append)
    assert [agent.device for agent in agents] == ["cuda:1"]
    assert "An old card" in notes[0]
    assert "A card" not in notes[0]


async def test_an_agent_that_refuses_to_list_devices_is_quoted() -> None:
    words = "polyrhythm-agent: POLYRHYTHM_AGENT_DTYP: no process of Polyrhythm knows this variable"
    broken = Executables(agent=(sys.executable, "-c", f"import sys; sys.stderr.write({words!r}); sys.exit(2)"))
    with pytest.raises(ChildEndedError, match=f"exit code 2; it said:\n{words}") as caught:
        await choose_agents(FleetChoice(), broken, lambda _: None)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


async def test_cuda_devices_get_an_agent_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DEVICES", CARDS)
    notes: list[str] = []
    agents = await choose_agents(FleetChoice(), EXECUTABLES, notes.append)
    assert [agent.device for agent in agents] == ["cuda:0", "cuda:1"]
    assert "A card, An old card" in notes[0]
