"""Which arithmetic may be mixed in one gang, and in which of its members' a gang's activations travel. Pure.

An agent computes in the dtype that it was started with. Between all dtypes that may be mixed x and x0 travel in fp32:
only activations have to be agreed on.
"""

from __future__ import annotations

from collections.abc import Iterable

from polyrhythm.model.facts import ModelFacts

MIXABLE = ("bfloat16", "float16", "float32")
"""Dtypes that may meet in a gang, the one to exchange in first: the narrowest, which costs least on the wire and loses
nothing that its own members keep; of two as narrow the one in which no activation is too large."""


def may_mix(one: ModelFacts, other: ModelFacts) -> bool:
    """Whether two agents may make one picture: the same weights, and the same dtype of x and x0."""
    same_weights = (one.name, one.fingerprint) == (other.name, other.fingerprint)
    return same_weights and (one.dtype == other.dtype or {one.dtype, other.dtype} <= set(MIXABLE))


def exchanged_as(members: Iterable[ModelFacts]) -> ModelFacts:
    """Facts of that member of a gang in whose dtype, and hence by whose sizes, activations travel between all of them.

    Args:
        members: each member's own facts, at least one; any two of them may be mixed.
    """
    return min(members, key=precision)


def precision(facts: ModelFacts) -> int:
    """Place of a model's dtype in the order of ``MIXABLE``; one that is mixed with nothing comes last."""
    return MIXABLE.index(facts.dtype) if facts.dtype in MIXABLE else len(MIXABLE)
