"""Variables of the daemons, for a fleet that a command starts: they count, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.process.environment import Daemon, variable_of
from polyrhythm_agent.settings import OPTIONS as AGENT_OPTIONS
from polyrhythm_client.cli.commands.up import UpOptions, layout_of
from polyrhythm_client.cli.fleet_in_use import open_fleet
from polyrhythm_client.cli.main import app
from polyrhythm_client.cli.options import FleetOptions
from polyrhythm_client.cli.own_fleet import FleetChoice, check_choice, local_model
from polyrhythm_client.local.layout import AgentLayout
from polyrhythm_client.local.programs import INSTALLED, agent_arguments, coordinator_arguments
from polyrhythm_client.local.variables import MODEL_VARIABLE, check_daemon_variables
from polyrhythm_coordinator.settings import OPTIONS as COORDINATOR_OPTIONS

AGENT = AgentLayout(agent=AgentId("local-0"), device="cpu", threads=2, pin_core=0, emulate_speed=0.5)
MODEL = "--model"
"""The command itself gives it what the variable says."""


def refused(environment: dict[str, str], *, own_port: bool) -> set[str]:
    try:
        check_daemon_variables(environment, own_port=own_port)
    except InvalidArgumentError as error:
        return {found.field for found in error.violations}
    return set()


def names(arguments: tuple[str, ...]) -> set[str]:
    return {argument.partition("=")[0] for argument in arguments}


@pytest.mark.parametrize("option", AGENT_OPTIONS.values())
def test_a_variable_of_an_agent_counts_or_is_refused(option: str) -> None:
    variable = variable_of(Daemon.AGENT, option)
    written = agent_arguments(AGENT, "127.0.0.1:1", "m", environment={variable: "x"})
    # A lifeline is added where the process is started.
    decided = option in {*names(written), "--lifeline-fd"} - {MODEL}
    assert refused({variable: "x"}, own_port=False) == ({variable} if decided else set())


@pytest.mark.parametrize("port", [None, 0, 50052])
@pytest.mark.parametrize("option", COORDINATOR_OPTIONS.values())
def test_a_variable_of_the_coordinator_counts_or_is_refused(option: str, port: int | None) -> None:
    """But for a port that the user says: that goes before the variable, as the options of a daemon do."""
    variable = variable_of(Daemon.COORDINATOR, option)
    written = coordinator_arguments(port, logged=False, environment={variable: "x"})
    decided = option in {*names(written), "--lifeline-fd"}
    asked = port == 50052 and option == "--port"
    found = refused({variable: "x"}, own_port=port == 0)
    assert found == ({variable} if decided and not asked else set())


def test_what_to_say_instead_is_told() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_AGENT_DEVICE: use --gpus .*HOST: .* 127\.0\.0\.1"):
        check_daemon_variables(
            {"POLYRHYTHM_COORDINATOR_HOST": "::1", "POLYRHYTHM_AGENT_DEVICE": "cuda:1"}, own_port=False
        )


async def test_a_command_refuses_before_it_starts_a_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_PORT", "50052")
    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_COORDINATOR_PORT: a fleet of this command's own"):
        async with open_fleet(FleetChoice(options=FleetOptions(speeds="1")), lambda _: None):
            pass


def test_the_agents_model_is_loaded_unless_another_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "demo-transformer")
    assert local_model(FleetChoice()) == "demo-transformer"
    assert local_model(FleetChoice(model="demo-unet")) == "demo-unet"
    monkeypatch.chdir(tmp_path)
    for wrong in ("nowhere", ""):
        monkeypatch.setenv(MODEL_VARIABLE, wrong)
        with pytest.raises(InvalidArgumentError, match=f"^{MODEL_VARIABLE}: '{wrong}' is neither a model that ships"):
            local_model(FleetChoice())


@pytest.mark.parametrize(
    ("given", "model", "port"),
    [
        (UpOptions(fleet=FleetOptions(speeds="1")), "demo-transformer", None),
        (UpOptions(fleet=FleetOptions(speeds="1"), model="demo-unet", port=50052), "demo-unet", 50052),
    ],
)
async def test_up_starts_what_variables_say_and_options_go_before(
    monkeypatch: pytest.MonkeyPatch, given: UpOptions, model: str, port: int | None
) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "demo-transformer")
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_PORT", "0")
    layout = await layout_of(given, INSTALLED, lambda _: None)
    assert (layout.model, layout.port) == (model, port)


@pytest.mark.parametrize("command", [("agents",), ("drain", "local-0"), ("generate", "a fox"), ("plan", "a fox")])
def test_an_address_that_is_none_is_told_by_what_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    def message(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            app([*command, *options])
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert message("--address", "garbage").startswith("error: address: must be HOST:PORT")
    monkeypatch.setenv("POLYRHYTHM_ADDRESS", "rubbish")
    assert message().startswith("error: POLYRHYTHM_ADDRESS: must be HOST:PORT")
    assert message("--address", "garbage").startswith("error: address: must be HOST:PORT")


def test_an_address_of_the_environment_is_named_where_a_fleet_of_its_own_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choice = FleetChoice(options=FleetOptions(address="h:1", speeds="1"))
    with pytest.raises(InvalidArgumentError, match=r"^speeds: .* cannot go with address h:1$"):
        check_choice(choice)
    monkeypatch.setenv("POLYRHYTHM_ADDRESS", "h:1")
    with pytest.raises(InvalidArgumentError, match=r"^speeds: .* cannot go with POLYRHYTHM_ADDRESS h:1$"):
        check_choice(choice)
