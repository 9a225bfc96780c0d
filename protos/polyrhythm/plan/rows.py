"""Half-open ranges of row units of an image. Owns the rule that rows of all agents partition the image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RowRange:
    """Rows ``begin <= r < end``, in units of the model family (one token row for a patch-2 transformer).

    May be empty: a drained agent holds no rows.
    """

    begin: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"row range must satisfy 0 <= begin <= end: [{self.begin}, {self.end})")

    @property
    def count(self) -> int:
        """Number of row units."""
        return self.end - self.begin

    def intersect(self, other: RowRange) -> RowRange:
        """Rows in both ranges; an empty range where there are none."""
        begin = max(self.begin, other.begin)
        return RowRange(begin=begin, end=max(begin, min(self.end, other.end)))

    def __str__(self) -> str:
        return f"[{self.begin}, {self.end})"


def is_partition(ranges: Iterable[RowRange], row_count: int) -> bool:
    """Whether the non-empty ranges cover ``0 .. row_count`` exactly once."""
    position = 0
    for rows in sorted(r for r in ranges if r.count):
        if rows.begin != position:
            return False
        position = rows.end
    return position == row_count


def ranges_from_counts(counts: Iterable[int]) -> tuple[RowRange, ...]:
    """Consecutive ranges with the given numbers of row units, top of the image first."""
    ranges: list[RowRange] = []
    begin = 0
    for count in counts:
        ranges.append(RowRange(begin=begin, end=begin + count))
        begin += count
    return tuple(ranges)
