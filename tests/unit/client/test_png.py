"""Text in PNG files."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from polyrhythm_client.recipes.png import PngError, add_texts, read_texts

TEXTS = {"Description": "ein Äpfelchen 🍎", "polyrhythm:plan": '{"a": [1, 2]}', "empty": ""}


@pytest.fixture
def png() -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (5, 3))
    image.putdata([(index * 16, 255 - index, index) for index in range(15)])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def test_texts_come_back(png: bytes) -> None:
    assert read_texts(add_texts(png, TEXTS)) == TEXTS


def test_pixels_stay_and_other_programs_read_the_texts(png: bytes) -> None:
    marked = add_texts(png, TEXTS)
    assert pixels(marked) == pixels(png)
    image = Image.open(io.BytesIO(marked))
    assert isinstance(image.info, dict)
    assert {name: image.info[name] for name in TEXTS} == TEXTS


def test_the_same_texts_give_the_same_bytes(png: bytes) -> None:
    assert add_texts(png, TEXTS) == add_texts(png, TEXTS)


def test_every_byte_of_the_original_is_kept(png: bytes) -> None:
    marked = add_texts(png, {"k": "v"})
    assert marked.startswith(png[:33])
    assert marked.endswith(png[33:])


def test_plain_text_chunks_are_read(png: bytes) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", "another")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "PNG", pnginfo=info)
    assert read_texts(buffer.getvalue()) == {"Software": "another"}


@pytest.mark.parametrize("cut", [0, 7, 20, 40, -5])
def test_damage_is_refused(png: bytes, cut: int) -> None:
    with pytest.raises(PngError):
        read_texts(png[:cut])


def test_a_flipped_bit_is_noticed(png: bytes) -> None:
    damaged = bytearray(png)
    damaged[20] ^= 1
    with pytest.raises(PngError, match="checksum of the IHDR"):
        read_texts(bytes(damaged))
