"""How an agent cuts a picture's file, held against what the coordinator takes and keeps for a client."""

from __future__ import annotations

import pytest

from polyrhythm.ids import EpochId
from polyrhythm.job.picture_file import PART_BYTES, PARTS_SPARE, facts_of, fault, file_bytes_max, parts_max
from polyrhythm_agent.epoch.png import image_parts
from tests.fakes.model import png_of

EPOCH = EpochId(incarnation=1, counter=1)


@pytest.mark.parametrize("side_px", [8, 512, 2048])
def test_no_file_is_cut_into_more_parts_than_are_taken(side_px: int) -> None:
    longest = bytes(file_bytes_max(side_px, side_px))
    parts = tuple(image_parts(EPOCH, longest, 0.5))
    assert len(parts) == parts_max(side_px, side_px) - PARTS_SPARE
    assert all(len(part.data) == PART_BYTES for part in parts[:-1])
    assert b"".join(part.data for part in parts) == longest
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize("part_bytes", [1, 5, 30, 1000])
def test_what_is_wrong_with_a_file_is_seen_however_it_was_cut(part_bytes: int) -> None:
    def wrong(content: bytes, height_px: int = 64) -> str:
        parts = [content[offset : offset + part_bytes] for offset in range(0, len(content), part_bytes)]
        return fault(facts_of(parts), 64, height_px)

    whole = png_of(64, 64, padding_bytes=100)
    assert wrong(whole) == ""
    assert wrong(whole, 32) == "is no PNG of 64x32 pixels"
    assert wrong(whole[:-1]) == "is not whole"
    assert wrong(whole[1:]) == "does not begin with the PNG signature"
    assert wrong(whole[:20]) == "is no PNG of 64x64 pixels"
    assert wrong(b"x") == "does not begin with the PNG signature"
