"""Bytes by number, within bounds; the core hears of them by reference."""

from __future__ import annotations

from polyrhythm.ids import EpochId
from polyrhythm.job.picture_file import SIGNATURE, FileFacts
from polyrhythm.session.events import ImageMade, PreviewMade
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore, reference_to
from polyrhythm_coordinator.scheduling.state.events import BlobId, ImagePartReceived
from tests.fakes.model import png_of

EPOCH = EpochId(incarnation=1, counter=1)
ONE, OTHER = BlobId(1), BlobId(2)


def test_parts_are_kept_in_order_and_dropped_together() -> None:
    store = MemoryBlobStore()
    assert store.append(ONE, b"a")
    assert store.append(OTHER, b"other")
    assert store.append(ONE, b"bc")
    assert store.parts(ONE) == (b"a", b"bc")
    assert store.kept_bytes == 8
    store.drop(ONE)
    store.drop(ONE)
    assert store.parts(ONE) == ()
    assert store.kept_bytes == 5


def test_what_there_is_no_room_for_is_not_kept() -> None:
    store = MemoryBlobStore(bytes_max=4)
    assert store.append(ONE, b"abc")
    assert not store.append(OTHER, b"de")
    assert (store.parts(OTHER), store.kept_bytes) == ((), 3)
    store.drop(ONE)
    assert store.append(OTHER, b"de")


def test_a_reference_tells_of_the_whole_file_with_its_last_part() -> None:
    content = png_of(64, 32)
    first, rest = content[:10], content[10:]
    made = ImageMade(epoch=EPOCH, offset=0, data=first, last=False, decode_s=0.0)
    part = reference_to(made, ONE, ())
    assert part == ImagePartReceived(epoch=EPOCH, blob=ONE, offset=0, size_bytes=10, decode_s=0.0, file=None)
    last = ImageMade(epoch=EPOCH, offset=10, data=rest, last=True, decode_s=0.5)
    assert reference_to(last, OTHER, (first,)).file == FileFacts(signed=True, size_px=(64, 32), whole=True)
    assert reference_to(last, OTHER, ()).file == FileFacts(signed=False, size_px=None, whole=True)


def test_a_reference_to_a_preview_tells_whether_it_is_a_png() -> None:
    for png, signed in ((SIGNATURE, True), (b"GIF89a", False)):
        told = reference_to(PreviewMade(epoch=EPOCH, step=4, png=png), ONE, ())
        assert (told.size_bytes, told.file) == (len(png), FileFacts(signed=signed, size_px=None, whole=False))
