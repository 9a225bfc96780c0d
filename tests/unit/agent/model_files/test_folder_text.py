"""A mark of byte order before a text file means nothing, whichever file of a folder it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polyrhythm_agent.calibration.file import read_calibrations, write_calibration
from polyrhythm_agent.calibration.measure import PictureErrors
from polyrhythm_agent.calibration.partial import PartialFile
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.model_files.folder_text import BOM, read_object, read_text
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE, read_known_words
from tests.values.calibrations import calibration
from tests.values.plan_requests import FACTS


def write_words(folder: Path) -> Path:
    path = folder / KNOWN_WORDS_FILE
    path.write_text(json.dumps({"subjects": ["fox"], "other_words": ["a"]}))
    return path


def write_prompts(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("red apple\ngreen pear\n")
    return path


def write_numbers(folder: Path) -> Path:
    return write_calibration(folder, FACTS, calibration(), {})


def write_config(folder: Path) -> Path:
    path = folder / "config.json"
    path.write_text('{"layers": 2}')
    return path


READERS: dict[Callable[[Path], Path], Callable[[Path], object]] = {
    write_words: lambda path: read_known_words(path.parent),
    write_prompts: read_prompts,
    write_numbers: lambda path: read_calibrations(path, FACTS.fingerprint),
    write_config: read_object,
}


@pytest.mark.parametrize("write", READERS)
def test_a_mark_of_byte_order_is_passed_over(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    read = READERS[write](path)
    assert read
    path.write_bytes(BOM + path.read_bytes())
    assert READERS[write](path) == read


def test_pictures_that_were_measured_are_there_behind_a_mark_of_byte_order(tmp_path: Path) -> None:
    subject, picture = {"fingerprint": "0"}, {"prompt": "a red apple", "seed": 1}
    errors = PictureErrors(single=None, joint_mse_J=np.array([1e-3]), low=-2.0, high=2.0)
    PartialFile(tmp_path, "some", subject).keep(picture, errors)
    (path,) = tmp_path.iterdir()
    path.write_bytes(BOM + path.read_bytes())
    assert PartialFile(tmp_path, "some", subject).get(picture) is not None


def test_other_bytes_that_are_no_text_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(BOM + "ü".encode("latin-1"))
    with pytest.raises(ValueError, match="utf-8"):
        read_text(path)
    assert read_text(path, errors="replace") == "\ufffd"
