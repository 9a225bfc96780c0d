"""No file that a user names is read without a bound: each is read by one reader, and its option is told."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.process.named_file import TEXT_BYTES_MAX
from polyrhythm_agent.calibration.file import CALIBRATION_FILE, CalibrationFileError, read_calibrations
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.folder_text import BYTES_MAX, read_object
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE, read_known_words
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_client.recipes.recipe_file import FILE_BYTES_MAX, read_recipe
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import FLEET_BYTES_MAX, read_fleet
from polyrhythm_coordinator.simulation.fleet_files.run_report import REPORT_BYTES_MAX, read_report
from tests.unit.test_import_rules import sources

READ_OTHERWISE = {
    "coordinator/polyrhythm_coordinator/simulation/fleet_files/preset_fleet.py": "presets, which ship",
    "gpu_agent/polyrhythm_agent/model_files/checkpoint_file.py": "a header, whose length is checked",
    "gpu_agent/polyrhythm_agent/denoiser/files/checkpoint.py": "weights, part by part",
    "gpu_agent/polyrhythm_agent/denoiser/files/folder.py": "regular files of a model: weights, vocabularies",
    "gpu_agent/polyrhythm_agent/host/device.py": "files of the kernel",
    "gpu_agent/polyrhythm_agent/exchange/transports/gloo_door.py": "files of the kernel",
    "gpu_agent/polyrhythm_agent/model_files/known_configs.py": "a vocabulary that the hub's library has fetched",
    "gpu_agent/polyrhythm_agent/host/torch_build.py": "a file of torch",
    "protos/polyrhythm/process/named_file.py": "the reader",
}


def reads(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that open a file to be read, or read it whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if node.func.attr in {"read_text", "read_bytes"} or (node.func.attr == "open" and "rb" in modes):
                yield node


def test_files_are_read_by_the_one_reader_but_for_those_that_no_user_names() -> None:
    found = {path for path, tree in sources() for _ in reads(tree)}
    assert found == set(READ_OTHERWISE)
    assert len(list(reads(ast.parse("p.read_text()\np.read_bytes()\np.open('rb')\np.open('wb')\nos.open(p, 1)")))) == 3


@pytest.mark.parametrize(
    ("read", "option", "bytes_max"),
    [
        (read_fleet, "devices", FLEET_BYTES_MAX),
        (read_report, "fit", REPORT_BYTES_MAX),
        (read_recipe, "plan", FILE_BYTES_MAX),
        (read_prompts, "--prompts", TEXT_BYTES_MAX),
    ],
)
def test_a_named_file_that_is_too_long_is_told_with_option_and_limit(
    tmp_path: Path, read: Callable[[Path], object], option: str, bytes_max: int
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(long_file(tmp_path / "long", bytes_max))
    (found,) = caught.value.violations
    assert found.field == option
    assert f"it is longer than {bytes_max} bytes" in found.description


def test_files_in_a_folder_that_is_named_are_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").symlink_to("/dev/zero")
    with pytest.raises(InvalidArgumentError, match=r"--model: .*longer than"):
        find_model(str(tmp_path))
    long_file(tmp_path / KNOWN_WORDS_FILE, BYTES_MAX)
    long_file(tmp_path / CALIBRATION_FILE, BYTES_MAX)
    refusals: list[tuple[Callable[[], object], type[PolyrhythmError]]] = [
        (lambda: read_known_words(tmp_path), ModelFolderError),
        (lambda: read_calibrations(tmp_path / CALIBRATION_FILE, "0"), CalibrationFileError),
        (lambda: read_object(long_file(tmp_path / "config.json", BYTES_MAX)), ModelFolderError),
    ]
    for refused, kind in refusals:
        with pytest.raises(kind, match=f"it is longer than {BYTES_MAX} bytes"):
            refused()


def long_file(path: Path, bytes_max: int) -> Path:
    """A file of a byte more, which takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(bytes_max + 1)
    return path
