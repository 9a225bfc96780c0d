"""The demo model's pictures and captions: what may be drawn for training, and that a seed decides it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

DATA_PATH = Path(__file__).resolve().parents[3] / "tools" / "demo_model" / "data.py"


def _load_data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_model_data", DATA_PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


data = _load_data()
needs_font = pytest.mark.skipif(not data.FONT_PATH.is_file(), reason="drawing needs the package fonts-noto-color-emoji")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_pair_has_its_own_caption() -> None:
    captions = [data.caption(n, c) for n in range(len(data.NAMES)) for c in range(len(data.COLOURS))]
    assert len(data.NAMES) >= 200
    assert len(set(captions)) == len(data.NAMES) * len(data.COLOURS)


def test_caption_reads_as_english() -> None:
    fox = data.NAMES.index("fox face")
    assert data.caption(fox, data.COLOURS.index("blue")) == "fox face on a blue background"
    assert data.caption(fox, data.COLOURS.index("orange")) == "fox face on an orange background"


def test_one_colour_is_held_out_of_every_name_and_none_is_favoured() -> None:
    held_out = [(n, c) for n in range(len(data.NAMES)) for c in range(len(data.COLOURS)) if data.is_held_out(n, c)]
    assert [n for n, _ in held_out] == list(range(len(data.NAMES)))
    assert [c for _, c in held_out] == data.held_out_colour(torch.arange(len(data.NAMES))).tolist()
    counts = [sum(c == colour for _, c in held_out) for colour in range(len(data.COLOURS))]
    assert max(counts) - min(counts) <= 1


def test_held_out_pairs_are_never_drawn_and_all_others_are() -> None:
    names_B, colours_B = data.draw_pairs(60_000, _generator(3))
    drawn = set(zip(names_B.tolist(), colours_B.tolist(), strict=True))
    assert not any(data.is_held_out(name, colour) for name, colour in drawn)
    assert len(drawn) == len(data.NAMES) * (len(data.COLOURS) - 1)


@needs_font
def test_a_seed_decides_the_pictures() -> None:
    painter = data.Painter(32)
    first, again, other = (painter.draw(6, _generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.images_BCHW, again.images_BCHW)
    assert first.captions() == again.captions()
    assert not torch.equal(first.images_BCHW, other.images_BCHW)


@needs_font
def test_the_same_pair_is_drawn_at_other_places_and_scales() -> None:
    batch = data.Painter(32).draw(20_000, _generator(7))
    same_B = (batch.names_B == batch.names_B[0]) & (batch.colours_B == batch.colours_B[0])
    pictures_BCHW = batch.images_BCHW[same_B]
    assert len(pictures_BCHW) > 3
    assert (pictures_BCHW[1:] - pictures_BCHW[0]).abs().amax(dim=(1, 2, 3)).min() > 0.5


@needs_font
def test_background_has_the_captioned_colour_and_the_emoji_covers_the_centre() -> None:
    name_B = torch.tensor([data.NAMES.index("blue heart")])
    teal = data.COLOURS.index("teal")
    batch = data.Painter(64).paint(name_B, torch.tensor([teal]), torch.tensor([0.6]), torch.zeros(1, 2))
    image_CHW = batch.images_BCHW[0]
    expected_C = torch.tensor(data.COLOURS_RGB["teal"]) / 127.5 - 1
    assert torch.allclose(image_CHW[:, 0, 0], expected_C, atol=1e-5)
    assert (image_CHW[:, 32, 32] - expected_C).abs().max() > 0.2


def test_a_missing_font_is_named() -> None:
    with pytest.raises(data.DrawingError, match="font_path"):
        data.render_sprites(16, Path("no-such-font.ttf"))
