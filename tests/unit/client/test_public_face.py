"""What ``polyrhythm_client`` shows to a program, and what a picture, a request and an account look like in one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import polyrhythm_client
from polyrhythm_client import ImageRequest, Picture, PillowMissingError, Quality
from tests.fakes.coordinator import PNG, picture_events, plan
from tests.unit.client.test_output import assemble

REQUEST = ImageRequest(prompt="a red apple on a blue background " * 20, plan=plan(), quality=Quality.HIGH)


@pytest.fixture
def picture() -> Picture:
    (made,) = assemble(picture_events(ImageRequest(prompt="red apple")))
    return made


def test_what_is_shown_is_the_public_face_and_all_of_it_is_there() -> None:
    assert dir(polyrhythm_client) == sorted(polyrhythm_client.__all__)
    for name in polyrhythm_client.__all__:
        assert getattr(polyrhythm_client, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'SyncClient'"):
        _ = polyrhythm_client.SyncClient


def test_every_error_of_the_vocabulary_is_shown() -> None:
    from polyrhythm import errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds <= set(polyrhythm_client.__all__)


def test_importing_it_is_fast() -> None:
    """No client is imported before it is asked for: gRPC takes longer than all the rest."""
    heavy = {"grpc", "google.protobuf", "torch", "numpy", "PIL", "pydantic", "rich", "typer"}
    code = f"import sys, polyrhythm_client; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_picture_is_saved_in_one_move(picture: Picture, tmp_path: Path) -> None:
    picture.save(str(tmp_path / "a.png"))
    picture.save(tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == picture.png
    with pytest.raises(FileNotFoundError):
        picture.save(tmp_path / "none" / "a.png")


def test_a_picture_is_an_image_of_pillow(picture: Picture) -> None:
    image = picture.image()
    assert image.size == (1, 1)
    assert image.info["polyrhythm:seed"] == "7"


def test_without_pillow_a_picture_says_what_to_install(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(PillowMissingError, match=r"needs Pillow: pip install '\.\[pictures\]' in a checkout"):
        picture.image()


def test_nothing_fills_the_screen(picture: Picture) -> None:
    taken = "8 steps on fast rows and 6 on slow ones"
    made = f"seed 7, 1.60 s on 2 devices, {len(picture.png)} bytes"
    assert repr(picture) == f"<Picture 128x128, {taken}, {made}>"
    many = replace(picture.report, agents=picture.report.agents * 100)
    for shown in (replace(picture, png=PNG * 1000, report=many), many, REQUEST, picture.recipe):
        assert len(repr(shown)) < 250
    for event in picture_events(ImageRequest(prompt="p", preview_every_steps=1), png=PNG * 1000):
        assert "x89PNG" not in repr(event)


def test_a_request_shows_what_it_says() -> None:
    assert repr(ImageRequest(prompt="red apple", seed=7)) == "ImageRequest(prompt='red apple', seed=7)"
    assert repr(REQUEST).endswith("quality=<Quality.HIGH: 'high'>, plan=...)")
