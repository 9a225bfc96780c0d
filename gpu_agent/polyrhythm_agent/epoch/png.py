"""Pixels to PNG files and their parts. The same pixels always give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from polyrhythm.ids import EpochId
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.session.events import ImageMade

PREVIEW_SIDE_PX = 256


def encode_png(pixels_CHW: Tensor, *, side_max_px: int | None = None) -> bytes:
    """Encodes ``(3, height, width)`` uint8; larger pictures are reduced to ``side_max_px`` where it is given."""
    image = Image.fromarray(pixels_CHW.permute(1, 2, 0).contiguous().numpy())
    if side_max_px is not None:
        image.thumbnail((side_max_px, side_max_px))
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=6)
    return file.getvalue()


def image_parts(epoch: EpochId, png: bytes, decode_s: float) -> Iterator[ImageMade]:
    """The events that carry a PNG file, the decode time in the last one."""
    for offset in range(0, len(png), PART_BYTES):
        data = png[offset : offset + PART_BYTES]
        last = offset + len(data) == len(png)
        yield ImageMade(epoch=epoch, offset=offset, data=data, last=last, decode_s=decode_s if last else 0.0)
