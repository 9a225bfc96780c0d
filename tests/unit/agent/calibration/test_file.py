"""The file beside a model: written whole, read back, and passed over where it is not of these weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.calibration import PICTURES_MAX, Calibration
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.calibration.file import (
    CALIBRATION_FILE,
    FORMAT,
    IN_FULL,
    CalibrationFileError,
    Pictures,
    check_replaceable,
    read_calibrations,
    with_calibration,
    write_calibration,
)
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from tests.values.calibrations import calibration
from tests.values.plan_requests import FACTS


def test_what_was_written_is_reported(tmp_path: Path) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {"prompts": ["a red apple"]})
    assert path == tmp_path / CALIBRATION_FILE
    (found,) = with_calibration(FACTS, tmp_path).calibrations
    assert (found.sampler, found.merge_steps) == (calibration().sampler, calibration().merge_steps)
    assert found.products == pytest.approx(calibration().products, rel=1e-5)
    assert json.loads(path.read_text())["entries"][0]["made"] == {"prompts": ["a red apple"]}
    assert [file.name for file in tmp_path.iterdir()] == [CALIBRATION_FILE]


def test_each_sampler_and_grid_has_an_entry_and_a_newer_one_takes_its_place(tmp_path: Path) -> None:
    touchy = replace(calibration(), saturation_mse=calibration().saturation_mse * 2)
    for one in (calibration(steps=100), calibration(), calibration(sampler=Sampler.EULER), touchy):
        write_calibration(tmp_path, FACTS, one, {})
    found = with_calibration(FACTS, tmp_path).calibrations
    sampler = calibration().sampler
    assert [(one.sampler, one.steps) for one in found] == [(sampler, 50), (sampler, 100), ("euler", 50)]
    (replaced,) = (one for one in found if (one.sampler, one.steps) == (sampler, 50))
    assert replaced.saturation_mse == pytest.approx(touchy.saturation_mse)


def test_entries_of_other_weights_do_not_stay_and_that_is_said(tmp_path: Path) -> None:
    write_calibration(tmp_path, replace(FACTS, fingerprint="other"), calibration(steps=100), {})
    with capture_logs() as logs:
        write_calibration(tmp_path, FACTS, calibration(), {})
    assert [one.steps for one in with_calibration(FACTS, tmp_path).calibrations] == [50]
    assert ["other weights" in entry["reason"] for entry in logs] == [True]


def of_pictures(pictures: int) -> Calibration:
    return calibration(touchiness=(1.0, 1.0, 1.0, 1.0) * pictures)


def test_numbers_of_more_pictures_are_not_replaced_by_those_of_fewer_unasked(tmp_path: Path) -> None:
    write_calibration(tmp_path, FACTS, of_pictures(8), {})
    before = (tmp_path / CALIBRATION_FILE).read_text()
    with pytest.raises(InvalidArgumentError, match=r"a calibration of 8 pictures for 50 steps of ddim.*one of 4"):
        write_calibration(tmp_path, FACTS, of_pictures(4), {})
    assert (tmp_path / CALIBRATION_FILE).read_text() == before
    fewer = Pictures(in_all=4, in_full=4)
    check_replaceable(tmp_path, FACTS, 50, Pictures(in_all=8, in_full=1), even_if_fewer=False)
    check_replaceable(tmp_path, FACTS, 20, fewer, even_if_fewer=False)  # of that length there is none
    check_replaceable(tmp_path, replace(FACTS, fingerprint="other"), 50, fewer, even_if_fewer=False)
    write_calibration(tmp_path, FACTS, of_pictures(4), {}, even_if_fewer=True)
    assert with_calibration(FACTS, tmp_path).calibrations[0].pictures == 4


@pytest.mark.parametrize(
    ("in_full", "level", "told"),
    [
        (1, 47, "48 pictures, 12 of them in full, for 50 steps of ddim, which one of 48 pictures, 1 of them in full,"),
        (12, 35, "which one of 47 pictures, 12 of them in full, would replace; --replace does that"),
        (11, 100, "which one of 111 pictures, 11 of them in full,"),
        (12, 36, None),
        (48, 0, None),  # one in full says how touchy it is, too
    ],
)
def test_neither_pictures_in_full_nor_all_of_them_become_fewer_unasked(
    tmp_path: Path, in_full: int, level: int, told: str | None
) -> None:
    write_calibration(tmp_path, FACTS, of_pictures(48), {IN_FULL: 12})
    new = of_pictures(in_full + level), {IN_FULL: in_full}
    if told is None:
        write_calibration(tmp_path, FACTS, *new)
    else:
        with pytest.raises(InvalidArgumentError, match=told):
            write_calibration(tmp_path, FACTS, *new)
        write_calibration(tmp_path, FACTS, *new, even_if_fewer=True)
    (entry,) = json.loads((tmp_path / CALIBRATION_FILE).read_text())["entries"]
    assert entry["made"][IN_FULL] == in_full


@pytest.mark.parametrize("made", [None, [], {IN_FULL: "twelve"}, {IN_FULL: True}])
def test_an_entry_that_does_not_say_how_it_was_made_counts_by_all_its_pictures(tmp_path: Path, made: object) -> None:
    path = write_calibration(tmp_path, FACTS, of_pictures(8), {})
    content = json.loads(path.read_text())
    content["entries"][0]["made"] = made
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidArgumentError, match=r"a calibration of 8 pictures for 50 steps .* of 7 pictures, 7 of"):
        write_calibration(tmp_path, FACTS, of_pictures(7), {IN_FULL: 7})
    write_calibration(tmp_path, FACTS, of_pictures(8), {IN_FULL: 1})


def test_a_folder_that_does_not_take_the_file_is_told_by_the_option(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).mkdir()
    with pytest.raises(InvalidArgumentError, match=f"^--model: a calibration cannot be written into {tmp_path}: Is a"):
        write_calibration(tmp_path, FACTS, calibration(), {})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps": 251}, "steps must be 2..250, got 251"),
        ({"latent_range": float("inf")}, "latent_range must be 1e-06..1e"),
        ({"saturation_mse": 0.0}, "saturation_mse must be 1e-12..1e"),
        ({"width_px": 0}, "width_px and height_px must be positive"),
        ({"guidance": float("nan")}, "guidance must be 0..1000, got nan"),
        ({"touchiness": (1.0, 1.0, 1.0)}, "touchiness must be 4 numbers for each"),
        ({"touchiness": (1.0, 1.0, 1.0, 0.0)}, r"touchiness\[3\] must be 1e-09..1e"),
        ({"touchiness": (1.0,) * 4 * (PICTURES_MAX + 1)}, "touchiness must be 4 numbers for each"),
        ({"products": (1.0,)}, "products must be"),
        ({"row_weights": (-1.0,)}, r"row_weights\[0\] must be 0..1e"),
        ({"row_weights": (0.0, 1e-300)}, "row_weights must reach 1e-06"),
        ({"merge_steps": tuple(range(240)), "stale_begin_steps": tuple(range(200)), "steps": 250}, "at most 256"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changed: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(calibration(), **changed)


@pytest.mark.parametrize(("row", "column", "value"), [(3, 3, -1e-6), (3, 4, 1.0), (3, 4, float("nan"))])
def test_products_that_are_none_of_vectors_are_refused(row: int, column: int, value: float) -> None:
    good = calibration()
    products = list(good.products)
    for one, other in ((row, column), (column, row)):
        products[one * good.size + other] = value
    with pytest.raises(ValueError, match="product"):
        replace(good, products=tuple(products))


def test_a_folder_without_the_file_is_not_calibrated(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert with_calibration(FACTS, tmp_path) == FACTS
    assert logs == []


def test_numbers_of_other_weights_count_for_nothing_and_that_is_said(tmp_path: Path) -> None:
    write_calibration(tmp_path, replace(FACTS, fingerprint="other"), calibration(), {})
    with capture_logs() as logs:
        facts = with_calibration(FACTS, tmp_path)
    assert facts.calibrations == ()
    (entry,) = logs
    assert entry["log_level"] == "warning"
    assert "other weights" in entry["reason"]
    assert facts.notices == (f"{CALIBRATION_FILE} of model tiny is not used: {entry['reason']}",)


def test_a_file_of_another_format_is_named_as_such(tmp_path: Path) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {})
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(CalibrationFileError, match="format is 1, this version reads 4; run polyrhythm calibrate"):
        read_calibrations(path, FACTS.fingerprint)
    facts = with_calibration(FACTS, tmp_path)
    assert facts.calibrations == ()
    assert "format is 1" in facts.notices[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 4, "fingerprint": "0", "entries": [{"calibration": {"sampler": "ddim"}}]}',
        pytest.param("[" * 100_000, id="nested without end"),
    ],
)
def test_a_file_that_means_nothing_is_passed_over_and_that_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with capture_logs() as logs:
        assert with_calibration(FACTS, tmp_path).calibrations == ()
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize(
    "changed",
    [
        [],
        None,
        {"guidance": True},
        {"row_weights": [True]},
        {"sampler": -1},
        {"sampler": [[]]},
        {"width_px": 1e308},
        {"latent_range": 10**400},
    ],
    ids=[
        "a list",
        "nothing",
        "true",
        "true in a list",
        "a number for a sampler",
        "a list for one",
        "too wide",
        "an integer that is no float",
    ],
)
def test_numbers_that_no_message_carries_are_passed_over_and_that_is_said(tmp_path: Path, changed: object) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {})
    content = json.loads(path.read_text())
    (entry,) = content["entries"]
    entry["calibration"] = {**entry["calibration"], **changed} if isinstance(changed, dict) else changed
    path.write_text(json.dumps(content))
    assert with_calibration(FACTS, tmp_path).calibrations == ()


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_figures_that_no_planner_can_compute_with_are_passed_over_by_their_name(tmp_path: Path, value: float) -> None:
    path = write_calibration(tmp_path, FACTS, calibration(), {})
    content = json.loads(path.read_text())
    content["entries"][0]["calibration"]["latent_range"] = value
    path.write_text(json.dumps(content))
    facts = with_calibration(FACTS, tmp_path)
    assert facts.calibrations == ()
    assert "is not used: latent_range must be 1e-06..1e+06, got" in facts.notices[0]


def test_a_file_that_was_cut_off_is_said_to_be_no_json(tmp_path: Path) -> None:
    path = tmp_path / CALIBRATION_FILE
    path.write_text('{"format', encoding="utf-8")
    with pytest.raises(CalibrationFileError, match="it is no JSON: Unterminated string"):
        read_calibrations(path, FACTS.fingerprint)


def test_the_file_decides_no_picture(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    before = ModelFolder.open(tmp_path).fingerprint()
    write_calibration(tmp_path, FACTS, calibration(), {})
    assert ModelFolder.open(tmp_path).fingerprint() == before


@pytest.mark.parametrize(
    ("model", "sampler", "grids"), [("demo-transformer", "dpmpp-2m", [8, 20, 50]), ("demo-unet", "ddim", [8, 20, 50])]
)
def test_the_demo_models_ship_calibrated(model: str, sampler: str, grids: list[int]) -> None:
    folder = find_model(model).path
    found = with_calibration(load_denoiser(folder, model=model).facts, folder).calibrations
    assert [(one.sampler, one.steps) for one in found] == [(sampler, steps) for steps in grids]
    assert {bool(one.following_steps) for one in found} == {sampler == "dpmpp-2m"}
