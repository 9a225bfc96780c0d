"""What is wrong with an option is said with the option's name, and nothing is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.daemon.command_line import parse_command_line
from polyrhythm_agent.daemon.main import EXIT_BAD_INPUT, main
from polyrhythm_agent.settings import AgentSettings, read_settings

GOOD = {"coordinator": "127.0.0.1:50051", "name": "a"}


def fields_of(error: InvalidArgumentError) -> list[str]:
    return [violation.field for violation in error.violations]


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse_command_line(["--help"])
    assert [line for line in capfd.readouterr().out.splitlines() if len(line) > 80] == []


def test_the_defaults_are_a_cpu_agent_with_the_demo_model() -> None:
    settings = read_settings(GOOD)
    assert (settings.model, settings.device, settings.dtype) == ("demo-unet", "cpu", "auto")
    assert settings.emulate_speed is None


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--emulate-speed", "emulate_speed", "0"),
        ("--emulate-speed", "emulate_speed", "-0.5"),
        ("--emulate-speed", "emulate_speed", "1.5"),
        ("--emulate-speed", "emulate_speed", "nan"),
        ("--emulate-speed", "emulate_speed", "fast"),
        ("--coordinator", "coordinator", "localhost"),
        ("--coordinator", "coordinator", "http://localhost:50051"),
        ("--coordinator", "coordinator", "localhost:0"),
        ("--coordinator", "coordinator", "localhost:70000"),
        ("--name", "name", ""),
        ("--name", "name", "a b"),
        ("--device", "device", "gpu"),
        ("--dtype", "dtype", "int8"),
        ("--offload", "offload", "sometimes"),
        ("--threads", "threads", "0"),
        ("--pin-core", "pin_core", "-1"),
        ("--connect-timeout", "connect_timeout_s", "0"),
        ("--load-timeout", "load_timeout_s", "-1"),
        ("--memory-limit", "memory_limit_bytes", "300"),
        ("--memory-limit", "memory_limit_bytes", "300MB"),
        ("--memory-limit", "memory_limit_bytes", "-1MiB"),
    ],
)
def test_a_wrong_value_names_its_option(option: str, name: str, value: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_settings({**GOOD, name: value})
    assert fields_of(caught.value) == [option]
    assert value in str(caught.value)


def test_the_speed_of_a_cuda_device_cannot_be_emulated() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_settings({**GOOD, "device": "cuda:1", "emulate_speed": "0.5"})
    assert fields_of(caught.value) == ["--emulate-speed"]
    assert "must be left out with --device cuda:1" in str(caught.value)
    assert read_settings({**GOOD, "device": "cuda:1", "emulate_speed": "1"}).emulate_speed == 1.0


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("300MiB", 300 << 20), ("8GiB", 8 << 30), ("1.5 GiB", 3 << 29), ("0.5MiB", 1 << 19)]
)
def test_sizes_are_written_with_their_unit(text: str, size_bytes: int) -> None:
    assert read_settings({**GOOD, "memory_limit_bytes": text}).memory_limit_bytes == size_bytes


@pytest.mark.parametrize("address", ["localhost:1", "10.0.0.1:65535", "[::1]:50051", "my-box.lan:50051"])
def test_addresses_of_all_kinds(address: str) -> None:
    assert read_settings({**GOOD, "coordinator": address}).coordinator == address


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_settings({"emulate_speed": "2", "device": "tpu"})
    assert sorted(fields_of(caught.value)) == ["--coordinator", "--device", "--emulate-speed", "--name"]


def test_the_environment_fills_in_what_no_option_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYRHYTHM_AGENT_NAME", "from-environment")
    monkeypatch.setenv("POLYRHYTHM_AGENT_EMULATE_SPEED", "0.5")
    settings = read_settings({"coordinator": "127.0.0.1:1", "emulate_speed": "0.25"})
    assert (settings.name, settings.emulate_speed) == ("from-environment", 0.25)


def test_settings_are_frozen() -> None:
    settings = read_settings(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "other"


def test_every_setting_has_an_option() -> None:
    arguments = [
        *("--coordinator", "h:1", "--name", "n", "--model", "m", "--device", "cpu", "--dtype", "float64"),
        *("--threads", "2", "--pin-core", "0", "--emulate-speed", "0.5", "--bind-address", "::1"),
        *("--load-timeout", "1", "--connect-timeout", "2", "--lifeline-fd", "3", "--memory-limit", "1GiB"),
        *("--model-config", "c", "--offload", "never", "--start-attempts", "3"),
    ]
    assert set(parse_command_line(arguments).options) == set(AgentSettings.model_fields)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--emulate-speed", "0"), "--emulate-speed: Input should be greater than or equal to 0.01; got '0'"),
        (("--model", "/nowhere/model"), "--model: /nowhere/model does not exist"),
        (("--pin-core", "4095"), "--pin-core: core 4095 is not one of"),
        (("--bind-address", "203.0.113.1"), "--bind-address: 203.0.113.1 is no address of this host"),
        (("--bind-address", "0.0.0.0"), "--bind-address: 0.0.0.0 is no address that other agents could reach"),  # noqa: S104 - refused
        (("--bind-address", "no such host"), "--bind-address: 'no such host' cannot be resolved"),
    ],
)
def test_bad_input_ends_the_command_with_one_line_and_code_2(
    arguments: tuple[str, ...], expected: str, capfd: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    model = () if "--model" in arguments else ("--model", str(tiny_model))
    assert main(("--coordinator", "127.0.0.1:1", "--name", "a", *model, *arguments)) == EXIT_BAD_INPUT
    error = capfd.readouterr().err
    assert error.startswith(f"polyrhythm-agent: {expected}")
    assert error.count("\n") == 1


def test_an_unknown_option_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(("--fast",))
    assert caught.value.code == EXIT_BAD_INPUT
    assert "--fast" in capfd.readouterr().err


def test_the_daemon_runs_without_torch() -> None:
    script = "import json, sys, polyrhythm_agent.daemon.main; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    loaded = set(json.loads(ended.stdout))
    assert loaded.isdisjoint({"torch", "diffusers", "transformers"})


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """What a quick look takes for a model."""
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    return tmp_path
