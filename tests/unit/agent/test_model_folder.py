"""A model folder is looked at before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.model_folder import find_model

INDEX = '{"_class_name": "PixArtAlphaPipeline"}'


def make_model(folder: Path, *, index: str | None = INDEX, weights: str | None = "weights.safetensors") -> Path:
    (folder / "transformer").mkdir(parents=True)
    if index is not None:
        (folder / "model_index.json").write_text(index)
    if weights is not None:
        (folder / "transformer" / weights).write_bytes(b"")
    return folder


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    found = find_model(str(make_model(tmp_path / "PixArt-512")))
    assert (found.name, found.path) == ("PixArt-512", tmp_path / "PixArt-512")


def test_the_demo_model_is_the_first_of_its_places(tmp_path: Path) -> None:
    here = make_model(tmp_path / "b" / "demo")
    found = find_model("demo", (tmp_path / "a" / "demo", here))
    assert (found.name, found.path) == ("demo", here)


def test_an_installation_without_the_demo_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--model: the demo model is not part of this installation"):
        find_model("demo", (tmp_path / "demo",))


@pytest.mark.parametrize(
    ("index", "weights", "expected"),
    [
        (None, "w.safetensors", "model_index.json cannot be read"),
        ("{", "w.safetensors", "model_index.json is no JSON"),
        ("[]", "w.safetensors", "model_index.json names no pipeline"),
        (
            '{"_class_name": "FluxPipeline"}',
            "w.safetensors",
            "is a 'FluxPipeline', which no worker can load; known are: Di",
        ),
        ('{"_class_name": ["PixArtAlphaPipeline"]}', "w.safetensors", "names no pipeline"),
        (INDEX, None, "holds no safetensors weights"),
        (INDEX, "pytorch_model.bin", "holds no safetensors weights"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, index: str | None, weights: str | None, expected: str) -> None:
    folder = make_model(tmp_path / "m", index=index, weights=weights)
    with pytest.raises(InvalidArgumentError, match=expected):
        find_model(str(folder))


def test_pipelines_of_other_packages_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "other_family-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-family\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[polyrhythm.families]\nOtherPipeline = other_family:load\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = make_model(tmp_path / "m", index='{"_class_name": "OtherPipeline"}')
    assert find_model(str(folder)).path == folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_weights_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "transformer" / "weights.safetensors").chmod(0)
    with pytest.raises(InvalidArgumentError, match=r"weights.safetensors may not be read by this user"):
        find_model(str(folder))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(InvalidArgumentError, match="is not a folder"):
        find_model(str(tmp_path / "model.ckpt"))
