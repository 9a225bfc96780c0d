"""The health check of both images: asks as the daemon was told, and takes a drained agent for healthy."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentState
from tests.fakes.coordinator import AGENTS, FakeCoordinator, serving

SCRIPT = Path(__file__).parents[2] / "docker" / "health.py"


@pytest.fixture(scope="module")
def health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("container_health", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def processes(folder: Path, *commands: str) -> Path:
    """A folder such as /proc, in which these commands run, the first one as the container's first process."""
    for number, command in enumerate(commands, start=1):
        (folder / str(number)).mkdir()
        (folder / str(number) / "cmdline").write_text("".join(f"{word}\0" for word in command.split()))
    (folder / "self").mkdir()
    return folder


COORDINATOR = "/opt/polyrhythm/bin/python3 /opt/polyrhythm/bin/polyrhythm-coordinator"


@pytest.mark.parametrize(
    ("command", "environment", "asked"),
    [
        (COORDINATOR, {}, ("127.0.0.1:50051", None)),
        (f"{COORDINATOR} --host 0.0.0.0 --insecure-bind --port 6000", {}, ("127.0.0.1:6000", None)),
        (COORDINATOR, {"POLYRHYTHM_COORDINATOR_PORT": "6001"}, ("127.0.0.1:6001", None)),
        (f"{COORDINATOR} --host :: --insecure-bind", {}, ("[::1]:50051", None)),
        (f"{COORDINATOR} --host unix:/run/fleet", {}, ("unix:/run/fleet", None)),
        ("/sbin/docker-init -- polyrhythm-coordinator --port 6002", {}, ("127.0.0.1:6002", None)),
        ("/bin/polyrhythm-agent --coordinator c:1 --name a", {}, ("c:1", "a")),
        (
            "/bin/polyrhythm-agent --name a",
            {"POLYRHYTHM_AGENT_COORDINATOR": "c:2", "POLYRHYTHM_AGENT_NAME": "b"},
            ("c:2", "a"),
        ),
    ],
)
def test_it_asks_what_the_daemon_was_told(
    health: ModuleType, tmp_path: Path, command: str, environment: Mapping[str, str], asked: tuple[str, str | None]
) -> None:
    found = health.question(processes(tmp_path, command, "python3 health.py"), environment)
    assert (found.address, found.agent) == asked


@pytest.mark.parametrize(
    "command",
    [
        "/sbin/docker-init -- polyrhythm-agent calibrate --model demo-unet",
        "/opt/polyrhythm/bin/python3 -m polyrhythm_agent.calibration --model demo-unet",
    ],
)
def test_what_measures_a_model_is_healthy_while_it_runs_and_asks_nobody(
    health: ModuleType, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"POLYRHYTHM_AGENT_COORDINATOR": "nobody:1", "POLYRHYTHM_AGENT_NAME": "agent-0"}
    assert health.main(processes(tmp_path, command), variables) == 0
    assert capsys.readouterr().out == "measures a model\n"


def test_settings_that_are_wrong_are_no_health(health: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="--port"):
        health.question(processes(tmp_path, f"{COORDINATOR} --port 70000"), {})
    assert health.main(tmp_path, {}) == 1


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (AgentState.LOADING, 1),
        (AgentState.READY, 0),
        (AgentState.WORKING, 0),
        (AgentState.DRAINING, 0),
        (AgentState.DRAINED, 0),
    ],
)
def test_an_agent_is_healthy_when_it_does_what_it_was_told(
    health: ModuleType, tmp_path: Path, state: AgentState, code: int
) -> None:
    fake = FakeCoordinator(agents=(replace(AGENTS[0], state=state),))
    with serving(fake) as address:
        command = f"/bin/polyrhythm-agent --coordinator {address} --name {AGENTS[0].name}"
        assert health.main(processes(tmp_path, command), {}) == code


def test_nobody_knows_the_agent_nobody_answers_nobody_runs(
    health: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    with serving(FakeCoordinator()) as address:
        port = address.rpartition(":")[2]
        assert health.main(processes(tmp_path / "a", f"{COORDINATOR} --port {port}"), {}) == 0
        unknown = f"/bin/polyrhythm-agent --coordinator {address} --name stranger"
        assert health.main(processes(tmp_path / "b", unknown), {}) == 1
    assert "stranger: unknown to the coordinator" in capsys.readouterr().out
    assert health.main(processes(tmp_path / "c", f"{COORDINATOR} --port {port}"), {}) == 1
    assert health.main(processes(tmp_path / "d", "sh"), {}) == 1
    assert "neither polyrhythm-coordinator nor polyrhythm-agent runs" in capsys.readouterr().err
