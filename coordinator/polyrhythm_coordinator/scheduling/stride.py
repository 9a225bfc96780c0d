"""Step allocator: which strides the agents of a gang may take (STADI's computation-aware step allocation).

Owns the rule that the fastest agent always runs every fine step. Chooses nothing: the search compares all it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

EXHAUSTIVE_AGENTS_MAX = 6
"""Up to so many agents every assignment is tried; beyond, only those in which no agent has a smaller stride than a
faster one, because their number grows with the gang instead of exponentially."""


def stride_assignments(forward_s: Sequence[float], allowed: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All assignments of strides to the agents of one gang, stride 1 for everybody first.

    Args:
        forward_s: seconds of a forward over the whole image, an agent each. The smallest belongs to the fastest agent
            (the first of equals), which always gets stride 1.
        allowed: strides of the policy, ascending from 1.

    Yields:
        Strides in the order of the agents.
    """
    order = sorted(range(len(forward_s)), key=lambda index: forward_s[index])
    slower = order[1:]
    choices = (
        product(allowed, repeat=len(slower))
        if len(order) <= EXHAUSTIVE_AGENTS_MAX
        else combinations_with_replacement(allowed, len(slower))
    )
    for choice in choices:
        strides = [1] * len(order)
        for index, stride in zip(slower, choice, strict=True):
            strides[index] = stride
        yield tuple(strides)
