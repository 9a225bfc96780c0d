"""What of a picture's file can be told without decoding it: that it is a PNG of a size, whole, and no longer than one.

Processes pass such files on in parts; none of them decodes what another one has made.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_HEAD = struct.Struct(">8sI4sII")
"""Signature, then the first chunk: its length, its name, width and height."""
_IHDR_BYTES = 13
_PIXEL_BYTES = 3
_OVERHEAD_BYTES = 1 << 16
"""Chunks beside the pixels."""

PART_BYTES = 256 << 10
"""Of each part of a file but the last one, so that it fits a message to the coordinator."""
PARTS_SPARE = 8
"""More parts than a file of the largest length needs: nobody has to be exact, and nobody may send it byte by byte."""


def head_bytes(width_px: int, height_px: int) -> bytes:
    """How the file of a picture of this size begins."""
    return _HEAD.pack(SIGNATURE, _IHDR_BYTES, b"IHDR", width_px, height_px)


def file_bytes_max(width_px: int, height_px: int) -> int:
    """How long the file of a picture of this size may be: pixels that nothing could compress, and an eighth more."""
    pixels_bytes = (_PIXEL_BYTES * width_px + 1) * height_px
    return pixels_bytes + pixels_bytes // 8 + _OVERHEAD_BYTES


def parts_max(width_px: int, height_px: int) -> int:
    """In how many parts the file of a picture of this size may come."""
    return -(-file_bytes_max(width_px, height_px) // PART_BYTES) + PARTS_SPARE


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What can be told of a file without decoding it.

    Attributes:
        signed: whether it begins with the PNG signature.
        size_px: width and height, as its first chunk says; None where that is none of a PNG.
        whole: whether it ends as a PNG does.
    """

    signed: bool
    size_px: tuple[int, int] | None
    whole: bool


def facts_of(parts: Sequence[bytes]) -> FileFacts:
    """Looks at the beginning and the end of a file.

    Args:
        parts: all of it, however it was cut.
    """
    begin, end = b"", b""
    for part in parts:
        begin += part[: _HEAD.size]
        if len(begin) >= _HEAD.size:
            break
    for part in reversed(parts):
        end = part[-len(END) :] + end
        if len(end) >= len(END):
            break
    size_px = None
    if len(begin) >= _HEAD.size:
        width_px, height_px = _HEAD.unpack_from(begin)[-2:]
        size_px = (width_px, height_px) if begin.startswith(head_bytes(width_px, height_px)) else None
    return FileFacts(signed=begin.startswith(SIGNATURE), size_px=size_px, whole=end.endswith(END))


def fault(facts: FileFacts, width_px: int, height_px: int) -> str:
    """What is wrong with the file of a picture of this size, in words; empty where nothing is."""
    if not facts.signed:
        return "does not begin with the PNG signature"
    if facts.size_px != (width_px, height_px):
        return f"is no PNG of {width_px}x{height_px} pixels"
    return "" if facts.whole else "is not whole"
