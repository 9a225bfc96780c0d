"""A calibration that was broken off goes on from the pictures that it had measured."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.calibration.measure import PictureErrors, Single
from polyrhythm_agent.calibration.partial import PartialFile

SUBJECT = {"fingerprint": "0", "steps": 20}
FIRST, SECOND = ({"prompt": "a red apple", "seed": seed, "in_full": True} for seed in (1, 2))
FULL = PictureErrors(
    single=Single(products_DD=np.array([[2.0, 0.5], [0.5, 1.0]]), energy_R=np.array([1.0, 3.0])),
    joint_mse_J=np.array([1e-3, 2e-3]),
    low=-2.5,
    high=3.0,
)
LEVEL = PictureErrors(single=None, joint_mse_J=np.array([1e-3, np.nan]), low=-2.0, high=2.0)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def same(one: PictureErrors | None, other: PictureErrors) -> None:
    assert one is not None
    assert (one.low, one.high) == (other.low, other.high)
    np.testing.assert_equal(one.joint_mse_J, other.joint_mse_J)
    if other.single is None:
        assert one.single is None
    else:
        assert one.single is not None
        np.testing.assert_equal(one.single.products_DD, other.single.products_DD)
        np.testing.assert_equal(one.single.energy_R, other.single.energy_R)


def test_measured_pictures_are_there_again(tmp_path: Path) -> None:
    begun = PartialFile(tmp_path, "some", SUBJECT)
    assert begun.get(FIRST) is None
    begun.keep(FIRST, FULL)
    begun.keep(SECOND, LEVEL)
    again = PartialFile(tmp_path, "some", SUBJECT)
    same(again.get(FIRST), FULL)
    same(again.get(SECOND), LEVEL)
    again.remove()
    assert not os.listdir(tmp_path)


def test_those_of_another_subject_do_not_count_and_stay(tmp_path: Path) -> None:
    PartialFile(tmp_path, "some", SUBJECT).keep(FIRST, FULL)
    first = only_file(tmp_path)
    with capture_logs() as told:
        other = PartialFile(tmp_path, "some", {**SUBJECT, "fingerprint": "1"})
    assert [entry["files"] for entry in told] == [[first.name]]
    assert other.get(FIRST) is None
    other.keep(SECOND, LEVEL)
    other.remove()
    same(PartialFile(tmp_path, "some", SUBJECT).get(FIRST), FULL)


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    begun = PartialFile(tmp_path, "some", SUBJECT)
    begun.keep(FIRST, FULL)
    begun.keep(SECOND, LEVEL)
    path = only_file(tmp_path)
    path.write_text(path.read_text()[:-20])
    again = PartialFile(tmp_path, "some", SUBJECT)
    same(again.get(FIRST), FULL)
    assert again.get(SECOND) is None
    again.keep(SECOND, LEVEL)
    same(PartialFile(tmp_path, "some", SUBJECT).get(SECOND), LEVEL)


@pytest.mark.parametrize("text", ["", "\n", "no json", '{"subject": 1}\n{"picture": 2}\n'])
def test_a_file_that_means_nothing_is_begun_anew(tmp_path: Path, text: str) -> None:
    PartialFile(tmp_path, "some", SUBJECT)
    only_file(tmp_path).write_text(text)
    begun = PartialFile(tmp_path, "some", SUBJECT)
    begun.keep(FIRST, FULL)
    same(PartialFile(tmp_path, "some", SUBJECT).get(FIRST), FULL)


def test_the_file_is_whole_at_any_time(tmp_path: Path) -> None:
    """What was measured is written beside it and put in its place: an end in the midst of writing loses nothing."""
    PartialFile(tmp_path, "some", SUBJECT).keep(FIRST, FULL)
    path = only_file(tmp_path)
    with path.open() as measured:
        before = os.fstat(measured.fileno()).st_ino
        PartialFile(tmp_path, "some", SUBJECT)
        assert path.stat().st_ino != before
        assert len(measured.readlines()) == 2


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--model: a calibration cannot be written into .*none: No such"):
        PartialFile(tmp_path / "none", "some", SUBJECT)


def test_a_picture_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    begun = PartialFile(folder, "some", SUBJECT)
    begun.remove()
    folder.rmdir()
    with pytest.raises(InvalidArgumentError, match=r"--model: a calibration cannot be written into .*model: No such"):
        begun.keep(FIRST, FULL)
