"""Step allocator: which strides the agents of a gang may take (STADI's computation-aware step allocation).

Owns the rule that the fastest agent always runs every fine step. Chooses nothing: the search compares all it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Plan

EXHAUSTIVE_AGENTS_MAX = 6
"""Up to so many agents every assignment is tried; beyond, only those in which no agent has a smaller stride than a
faster one, because their number grows with the gang instead of exponentially."""

LADDER_ASSIGNMENTS_MAX = 9
"""Of these, so many at most, evenly spread from all at full rate to all but the fastest at the largest stride."""


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
        else _evenly(list(combinations_with_replacement(allowed, len(slower))))
    )
    for choice in choices:
        strides = [1] * len(order)
        for index, stride in zip(slower, choice, strict=True):
            strides[index] = stride
        yield tuple(strides)


def strides_like(running: Plan, agents: Sequence[AgentId], forward_s: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    """Stride 1 for everybody, and each unequal choice of a plan: as it is, and dealt out anew by speed.

    Speeds may have changed since the plan was made: where the fastest agent would not get stride 1, the choice is left
    out as it is, and counts only dealt out anew.

    Args:
        running: a plan of the same agents.
        agents: in the order wanted.
        forward_s: seconds of a forward over the whole image, an agent each.
    """
    order = sorted(range(len(agents)), key=lambda index: forward_s[index])
    found = {(1,) * len(agents): None}
    for segment in running.segments:
        if len(set(segment.strides)) > 1:
            as_it_is = tuple(segment.of(agent).stride for agent in agents)
            by_speed = dict(zip(order, sorted(as_it_is), strict=True))
            if as_it_is[order[0]] == 1:
                found[as_it_is] = None
            if by_speed[order[0]] == 1:
                found[tuple(by_speed[index] for index in range(len(agents)))] = None
    return tuple(found)


def _evenly(choices: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """At most so many as are looked at, the first and the last among them."""
    count = min(len(choices), LADDER_ASSIGNMENTS_MAX)
    if count == 1:
        return choices
    return [choices[index * (len(choices) - 1) // (count - 1)] for index in range(count)]
