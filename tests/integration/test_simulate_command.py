"""``polyrhythm simulate`` as a user types it: the command, the simulator as its child, the chart."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyrhythm.errors import PolyrhythmError
from polyrhythm_client.cli.main import app
from polyrhythm_client.local.child import ChildEndedError
from polyrhythm_client.local.programs import Executables
from polyrhythm_client.local.simulator import run_simulator
from polyrhythm_coordinator.simulation.__main__ import main
from tests.unit.simulation.test_fit import report_of
from tests.worlds.simulated_fleets import EXAMPLE, device, fleet

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    code: int
    out: str
    err: str


def shell(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        app(["simulate", *arguments])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert isinstance(caught.value.code, int)
    return Result(code=caught.value.code, out=said.out, err=said.err)


def test_tables_and_a_chart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chart = tmp_path / "fleet.png"
    result = shell(capsys, "--devices", str(EXAMPLE), "--gantt", str(chart), "--quality", "fast", "--count", "2")
    assert (result.code, result.err) == (0, "")
    for told in ("big", "middle", "small", "tiny", "agent lost", "left out", "every figure above is simulated"):
        assert told in result.out
    assert chart.read_bytes().startswith(PNG_MAGIC)


def test_json_is_the_simulators_account(capsys: pytest.CaptureFixture[str]) -> None:
    result = shell(capsys, "--devices", str(EXAMPLE), "--json", "--size", "128x64", "--steps", "8")
    account = json.loads(result.out)
    assert (result.code, account["simulated"]) == (0, True)
    assert account["picture"]["height_px"] == 64
    assert {span["activity"] for span in account["timeline"]["spans"]} == {"compute", "wait", "encode", "decode"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--devices", "nowhere.toml"], "error: devices: nowhere.toml cannot be read"),
        (["--devices", str(EXAMPLE), "--size", "100x100"], "error: size: width must be a positive multiple of 8"),
        (["--devices", str(EXAMPLE), "--steps", "0"], "error: steps: must be 1..1000"),
        (["--devices", str(EXAMPLE), "--gantt", "no/such/folder.png"], "error: gantt: no/such/folder.png cannot"),
        (["--devices", str(EXAMPLE), "-o", "x.toml"], "error: output: goes with --fit"),
        (["--devices", str(EXAMPLE), "--gantt", "fleet.jpg"], "error: gantt: charts are PNG files"),
        (["--fit", "nowhere.json", "-o", "x.toml"], "error: fit: nowhere.json cannot be read"),
        ([], "error: devices: name either"),
        (["--devices", str(EXAMPLE), "--model-preset", "sdxl"], "error: model-preset: goes with --cards"),
        (["--devices", str(EXAMPLE), "--quality", "high", "--tail", "3"], "error: tail: quality high"),
        (["--devices", str(EXAMPLE), "--loss-db", "2"], "error: loss-db: demo-transformer is not calibrated"),
    ],
)
def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    result = shell(capsys, *arguments)
    assert result.code == 2
    assert told in result.err


PICTURE_OPTIONS = {
    "--size": "64x64",
    "--steps": "4",
    "--guidance": "1",
    "--sampler": "ddim",
    "--quality": "fast",
    "--objective": "latency",
    "--count": "2",
    "--max-stride": "1",
    "--warmup": "2",
    "--tail": "2",
    "--loss-db": "1",
    "--gantt": "chart.png",
}


def test_describing_a_run_refuses_what_says_how_pictures_are_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = report_of(fleet(device("a")), tmp_path)
    described = tmp_path / "fleet.toml"
    given = [text for option in PICTURE_OPTIONS.items() for text in option]
    result = shell(capsys, "--fit", str(run), "-o", str(described), *given)
    told = [line.split(": ")[1] for line in result.err.splitlines() if "has no effect with --fit" in line]
    assert (result.code, set(told)) == (2, {option.removeprefix("--") for option in PICTURE_OPTIONS})
    assert not described.exists()


def test_experts_decide_strides_and_phases_here_too(capsys: pytest.CaptureFixture[str]) -> None:
    told = shell(capsys, "--devices", str(EXAMPLE), "--json", "--max-stride", "1", "--warmup", "7")
    (picture,) = json.loads(told.out)["pictures"]
    segments = picture["plans"][0]["segments"]
    assert {share["stride"] for segment in segments for share in segment["assignments"]} == {1}
    assert next(part["end_step"] for part in segments if part["exchange"] == "synchronous") == 7
    strided = shell(capsys, "--devices", str(EXAMPLE), "--json", "--max-stride", "4", "--tail", "9")
    last = json.loads(strided.out)["pictures"][0]["plans"][0]["segments"][-1]
    assert last["begin_step"] <= 11
    assert {share["stride"] for share in last["assignments"]} == {1}


def test_cards_that_are_written_down_say_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    described = tmp_path / "cards.toml"
    cards = ("--cards", "t4,l4", "--model-preset", "sd15", "--steps", "8", "-o", str(described))
    assert f"fleet: {described}\n" in shell(capsys, *cards).out
    assert json.loads(shell(capsys, *cards, "--json").out)["path"] == str(described)
    assert shell(capsys, "--devices", str(described), "--steps", "8").code == 0


def test_no_fleet_is_written_down_for_pictures_that_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    described = tmp_path / "cards.toml"
    result = shell(capsys, "--cards", "t4", "--model-preset", "sd15", "--size", "13x13", "-o", str(described))
    assert (result.code, described.exists()) == (2, False)


def test_a_job_that_fails_is_told_with_its_account(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    text = EXAMPLE.read_text(encoding="utf-8").replace('name = "big"', 'name = "big"\ndies_at_s = 0.3')
    for speed in ("0.6", "0.35", "0.02"):
        text = text.replace(
            f"speed = {speed}\n", f"speed = {speed}\n" + ("" if speed == "0.35" else "dies_at_s = 0.4\n")
        )
    path.write_text(text, encoding="utf-8")
    result = shell(capsys, "--devices", str(path))
    assert result.code == 1
    assert "the simulated job failed: no agent is left" in result.err
    assert "dies" in result.out
    told = json.loads(shell(capsys, "--devices", str(path), "--json").out)
    assert told["error"]["message"].startswith("the simulated job failed: no agent is left")
    assert told["timeline"]["marks"]


def test_a_fleet_is_described_from_a_run_and_simulated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = report_of(fleet(device("a"), device("b", speed=0.5)), tmp_path)
    described = tmp_path / "fleet.toml"
    fitted = shell(capsys, "--fit", str(run), "-o", str(described))
    assert fitted.code == 0
    assert "2 devices; the run denoised in" in fitted.out
    assert shell(capsys, "--devices", str(described)).code == 0


async def test_a_simulator_that_breaks_is_told(tmp_path: Path) -> None:
    def program(code: str) -> Executables:
        return Executables(simulator=(sys.executable, "-c", code))

    with pytest.raises(PolyrhythmError, match="needs matplotlib"):
        await run_simulator((), program("import sys; sys.stderr.write('the chart needs matplotlib'); sys.exit(1)"))
    with pytest.raises(ChildEndedError, match="SIGKILL"):
        await run_simulator((), program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    with pytest.raises(PolyrhythmError, match="no JSON"):
        await run_simulator((), program("print('hello')"))


def test_the_module_runs_without_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--devices", str(EXAMPLE), "--steps", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"]["steps"] == 8
    assert main(["--devices", "nowhere.toml"]) == 2


def test_without_matplotlib_the_chart_is_refused_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from polyrhythm_coordinator.simulation.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--devices", str(EXAMPLE), "--steps", "4"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    chart = subprocess.run(
        [*command, "--gantt", str(tmp_path / "x.png")], capture_output=True, text=True, check=False, timeout=60
    )
    assert chart.returncode == 1
    assert "pip install '.[simulate]' in a checkout" in chart.stderr
