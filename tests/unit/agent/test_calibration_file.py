"""The file beside a model: written whole, read back, and passed over where it is not of these weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from polyrhythm_agent.calibration.file import (
    CALIBRATION_FILE,
    FORMAT,
    CalibrationFileError,
    read_calibration,
    with_calibration,
    write_calibration,
)
from polyrhythm_agent.denoiser.folder import INDECISIVE_FILES, ModelFolder
from polyrhythm_agent.model_folder import DEMO_FOLDERS
from tests.calibrations import calibration
from tests.unit.scheduling.planning import FACTS


def test_what_was_written_is_reported(tmp_path: Path) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {"prompts": ["a red apple"]})
    assert path == tmp_path / CALIBRATION_FILE
    found = with_calibration(FACTS, tmp_path).calibration
    assert found is not None
    assert (found.sampler, found.merge_steps) == (calibration().sampler, calibration().merge_steps)
    assert found.products == pytest.approx(calibration().products, rel=1e-5)
    assert json.loads(path.read_text())["made"] == {"prompts": ["a red apple"]}
    assert [file.name for file in tmp_path.iterdir()] == [CALIBRATION_FILE]


def test_a_folder_without_the_file_is_not_calibrated(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert with_calibration(FACTS, tmp_path) == FACTS
    assert logs == []


def test_numbers_of_other_weights_count_for_nothing_and_that_is_said(tmp_path: Path) -> None:
    write_calibration(tmp_path, replace(FACTS, fingerprint="other"), calibration(), {})
    with capture_logs() as logs:
        facts = with_calibration(FACTS, tmp_path)
    assert facts.calibration is None
    (entry,) = logs
    assert entry["log_level"] == "warning"
    assert "other weights" in entry["reason"]
    assert facts.notices == (f"{CALIBRATION_FILE} of model tiny is not used: {entry['reason']}",)


def test_a_file_of_another_format_is_named_as_such(tmp_path: Path) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {})
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(CalibrationFileError, match="format is 1, this version reads 2; run polyrhythm calibrate"):
        read_calibration(path, FACTS.fingerprint)
    facts = with_calibration(FACTS, tmp_path)
    assert facts.calibration is None
    assert "format is 1" in facts.notices[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1, "fingerprint": "0", "calibration": {"sampler": "ddim"}}']
)
def test_a_file_that_means_nothing_is_passed_over_and_that_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with capture_logs() as logs:
        assert with_calibration(FACTS, tmp_path).calibration is None
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_the_file_decides_no_picture(tmp_path: Path) -> None:
    assert CALIBRATION_FILE in INDECISIVE_FILES
    (tmp_path / "model_index.json").write_text("{}")
    before = ModelFolder.open(tmp_path).fingerprint()
    write_calibration(tmp_path, FACTS, calibration(), {})
    assert ModelFolder.open(tmp_path).fingerprint() == before
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / CALIBRATION_FILE).write_text("{}")
    assert ModelFolder.open(tmp_path).fingerprint() != before


UNET_FOLDER = Path(__file__).parents[3] / "models" / "demo-unet"


@pytest.mark.parametrize(
    ("folder", "sampler", "steps"),
    [(next(folder for folder in DEMO_FOLDERS if folder.is_dir()), "dpmpp-2m", 20), (UNET_FOLDER, "ddim", 50)],
)
def test_the_demo_models_ship_calibrated(folder: Path, sampler: str, steps: int) -> None:
    facts = replace(FACTS, fingerprint=ModelFolder.open(folder).fingerprint())
    found = with_calibration(facts, folder).calibration
    assert found is not None
    assert (found.sampler, found.steps) == (sampler, steps)
    assert bool(found.following_steps) is (sampler == "dpmpp-2m")
