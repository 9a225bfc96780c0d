"""Variables of the environment: one name an option, and none that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from polyrhythm.errors import AlreadyInUseError, FieldViolation, InvalidArgumentError
from polyrhythm.process.environment import (
    SHARED_VARIABLES,
    Daemon,
    check_variables,
    read_variables,
    told_by_variables,
    variable_of,
)
from polyrhythm_agent.daemon.main import main as agent_main
from polyrhythm_agent.settings import OPTIONS as AGENT_OPTIONS
from polyrhythm_agent.settings import read_settings as read_agent
from polyrhythm_client.cli.main import app
from polyrhythm_coordinator.settings import OPTIONS as COORDINATOR_OPTIONS
from polyrhythm_coordinator.settings import read_settings as read_coordinator

AGENT = {"POLYRHYTHM_AGENT_COORDINATOR": "h:1", "POLYRHYTHM_AGENT_NAME": "a"}


@pytest.mark.parametrize("option", AGENT_OPTIONS.values())
def test_every_option_of_an_agent_is_a_variable_of_the_same_name(option: str) -> None:
    variable = variable_of(Daemon.AGENT, option)
    assert variable == f"POLYRHYTHM_AGENT_{option[2:].replace('-', '_').upper()}"
    (name,) = [name for name, spelled in AGENT_OPTIONS.items() if spelled == option]
    assert read_variables({variable: "x"}, Daemon.AGENT, AGENT_OPTIONS) == {name: "x"}


def test_an_agent_reads_its_limit_and_its_configs() -> None:
    limited = {"POLYRHYTHM_AGENT_MEMORY_LIMIT": "300MiB", "POLYRHYTHM_AGENT_MODEL_CONFIG": "/configs"}
    settings = read_agent({}, AGENT | limited)
    assert (settings.memory_limit_bytes, settings.model_config_folder) == (300 << 20, "/configs")


@pytest.mark.parametrize(
    "name",
    ["POLYRHYTHM_AGENT_MEMORY_LIMIT_BYTES", "POLYRHYTHM_AGENT_DTYP", "POLYRHYTHM_AGNET_NAME", "POLYRHYTHM_MODEL"],
)
def test_an_agent_refuses_what_nobody_knows(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}: no process of Polyrhythm knows this variable"):
        read_agent({}, {**AGENT, name: "1"})


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(InvalidArgumentError, match=r"did you mean POLYRHYTHM_AGENT_MEMORY_LIMIT\?"):
        read_agent({}, {**AGENT, "POLYRHYTHM_AGENT_MEMROY_LIMIT": "1GiB"})


def test_a_coordinator_refuses_what_nobody_knows() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_COORDINATOR_PROT: .* POLYRHYTHM_COORDINATOR_PORT"):
        read_coordinator([], {"POLYRHYTHM_COORDINATOR_PROT": "1"})
    assert set(read_variables({}, Daemon.COORDINATOR, COORDINATOR_OPTIONS)) == set()


def test_a_variable_of_a_wrong_value_is_named_itself() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_AGENT_THREADS: "):
        read_agent({}, {**AGENT, "POLYRHYTHM_AGENT_THREADS": "0"})


def test_what_is_wrong_only_on_this_machine_is_named_by_the_variable_too() -> None:
    def refuse() -> None:
        violations = (FieldViolation(field=f"--{name}", description="is wrong") for name in ("model", "name"))
        with told_by_variables(Daemon.AGENT, {"--model"}):
            raise InvalidArgumentError(*violations)

    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_AGENT_MODEL: is wrong; --name: is wrong$"):
        refuse()
    for options, told in (
        ({"--port"}, "POLYRHYTHM_COORDINATOR_PORT: taken: by us"),
        (set[str](), "--port: taken: by us"),
    ):
        with pytest.raises(AlreadyInUseError, match=f"^{told}$"), told_by_variables(Daemon.COORDINATOR, options):
            raise AlreadyInUseError("--port: taken: by us")


def test_an_agent_names_a_variable_that_does_not_fit_the_machine(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**AGENT, "POLYRHYTHM_AGENT_MODEL": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert agent_main([]) == 2
    assert "polyrhythm-agent: POLYRHYTHM_AGENT_MODEL: /nowhere does not exist" in capfd.readouterr().err
    assert agent_main(["--model", "/elsewhere"]) == 2
    assert "polyrhythm-agent: --model: /elsewhere does not exist" in capfd.readouterr().err


def test_devices_are_not_listed_for_somebody_who_believes_in_a_variable(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLYRHYTHM_AGENT_DTYP", "float16")
    assert agent_main(["--list-devices"]) == 2
    assert "POLYRHYTHM_AGENT_DTYP: no process of Polyrhythm knows this variable" in capfd.readouterr().err


def test_what_another_process_reads_is_left_to_it() -> None:
    environment = {"POLYRHYTHM_ADDRESS": "h:1", "POLYRHYTHM_CACHE": "/c", "POLYRHYTHM_COORDINATOR_PORT": "1"}
    assert read_agent({}, AGENT | environment).name == "a"
    check_variables(environment | AGENT)


def test_all_variables_of_the_command_line_are_known_to_every_process() -> None:
    """What an option of the client reads must not be refused by the agents that it starts."""
    command = typer.main.get_command(app)
    read = {
        parameter.envvar
        for each in (command, *command.commands.values())  # pyright: ignore[reportAttributeAccessIssue] - a group
        for parameter in each.params
        if parameter.envvar
    }
    assert "POLYRHYTHM_ADDRESS" in read
    assert read <= SHARED_VARIABLES


def test_the_client_refuses_what_nobody_knows() -> None:
    environment = os.environ | {"POLYRHYTHM_ADRESS": "h:1"}
    command = (sys.executable, "-m", "polyrhythm_client.cli.main", "agents", "--address", "127.0.0.1:1")
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "POLYRHYTHM_ADRESS" in ended.stderr
