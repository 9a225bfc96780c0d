"""Bytes of pictures and previews at the edge of the core, which knows them by reference only.

Owns what a reference tells. Decides nothing: the core says what is kept and what is dropped, readers what they are
done with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from polyrhythm.job.picture_file import facts_of
from polyrhythm.session.events import ImageMade, PreviewMade
from polyrhythm_coordinator.scheduling.state.events import BlobId, ImagePartReceived, PreviewReceived

BYTES_MAX = 4 << 30
"""Of all pictures that come, or wait for their clients: far more than a busy fleet has on its way."""


class BlobStore(Protocol):
    """A port: bytes by number. One event loop only; nothing here waits."""

    def append(self, blob: BlobId, data: bytes) -> bool:
        """Adds a part to what is kept under a number; the first one begins it.

        Returns:
            False if there is no room, and nothing was added.
        """
        ...

    def parts(self, blob: BlobId) -> Sequence[bytes]:
        """What is kept under a number, as it was added; nothing under one that is not known."""
        ...

    def drop(self, blob: BlobId) -> None:
        """Forgets what is kept under a number, if anything is."""
        ...


class MemoryBlobStore:
    """A store in this process's memory.

    Args:
        bytes_max: that it keeps.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._parts: dict[BlobId, list[bytes]] = {}

    @property
    def kept_bytes(self) -> int:
        """What is kept now."""
        return self._bytes

    def append(self, blob: BlobId, data: bytes) -> bool:
        """Adds a part, if there is room."""
        if self._bytes + len(data) > self._bytes_max:
            return False
        self._parts.setdefault(blob, []).append(data)
        self._bytes += len(data)
        return True

    def parts(self, blob: BlobId) -> Sequence[bytes]:
        """The parts of one."""
        return tuple(self._parts.get(blob, ()))

    def drop(self, blob: BlobId) -> None:
        """Forgets one."""
        self._bytes -= sum(map(len, self._parts.pop(blob, ())))


def reference_to(
    event: PreviewMade | ImageMade, blob: BlobId, before: Sequence[bytes]
) -> PreviewReceived | ImagePartReceived:
    """What the core is told of bytes.

    Args:
        event: that they came with.
        blob: under which they may be kept.
        before: parts of the same file that are kept already.
    """
    match event:
        case PreviewMade(epoch=epoch, step=step, png=png):
            return PreviewReceived(epoch=epoch, step=step, blob=blob, size_bytes=len(png), file=facts_of((png,)))
        case ImageMade(epoch=epoch, offset=offset, data=data, last=last, decode_s=decode_s):
            return ImagePartReceived(
                epoch=epoch,
                blob=blob,
                offset=offset,
                size_bytes=len(data),
                decode_s=decode_s,
                file=facts_of((*before, data)) if last else None,
            )
