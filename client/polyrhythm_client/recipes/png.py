"""Text in PNG files: chunks put in and read out, pixels left alone.

Chunks are inserted by hand instead of letting an image library write the file again: the picture's bytes stay those
that the fleet made, the result does not depend on the library's compressor, and no pixel is ever decoded.
Source: Portable Network Graphics (PNG) Specification, sections 5.3 (chunk layout), 11.3.3.2 (tEXt), 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_LENGTH = struct.Struct(">I")
_OVERHEAD_BYTES = 12
"""Length, type and checksum of a chunk."""


class PngError(ValueError):
    """A file is no PNG file, or is damaged."""


def add_texts(png: bytes, texts: Mapping[str, str]) -> bytes:
    """Inserts one international text chunk (iTXt, UTF-8) a keyword, right after the header.

    Args:
        png: the file.
        texts: by keyword, 1 to 79 characters of Latin-1 each.

    Raises:
        PngError: the file is no PNG file or is damaged.
    """
    kind, header_end = _first_chunk(png)
    if kind != b"IHDR":
        raise PngError(f"the first chunk must be IHDR, got {kind!r}")
    added = b"".join(
        # Keyword, then: not compressed, method 0, no language tag, no translated keyword.
        _chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8"))
        for keyword, text in texts.items()
    )
    return png[:header_end] + added + png[header_end:]


def read_texts(png: bytes) -> dict[str, str]:
    """Reads all text chunks that are not compressed, by keyword.

    Raises:
        PngError: the file is no PNG file or is damaged.
    """
    texts: dict[str, str] = {}
    for kind, data in _chunks(png):
        keyword, _, rest = data.partition(b"\0")
        if kind == b"tEXt":
            texts[keyword.decode("latin-1")] = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
            texts[keyword.decode("latin-1")] = text.decode("utf-8", errors="replace")
    return texts


def _chunk(kind: bytes, data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + kind + data + _LENGTH.pack(zlib.crc32(kind + data))


def _first_chunk(png: bytes) -> tuple[bytes, int]:
    for kind, data in _chunks(png):
        return kind, len(SIGNATURE) + len(data) + _OVERHEAD_BYTES
    raise PngError("the file has no chunks")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise PngError("the file does not begin with the PNG signature")
    position = len(SIGNATURE)
    while position < len(png):
        if len(png) - position < _OVERHEAD_BYTES:
            raise PngError(f"the file ends inside the chunk at byte {position}")
        (length,) = _LENGTH.unpack_from(png, position)
        end = position + _OVERHEAD_BYTES + length
        if end > len(png):
            raise PngError(f"the file ends inside the chunk at byte {position}")
        kind, data = png[position + 4 : position + 8], png[position + 8 : end - 4]
        if zlib.crc32(kind + data) != _LENGTH.unpack_from(png, end - 4)[0]:
            raise PngError(f"the checksum of the {kind.decode('latin-1')} chunk at byte {position} is wrong")
        yield kind, data
        position = end
