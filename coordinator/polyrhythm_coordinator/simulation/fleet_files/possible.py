"""What an agent could say of itself: described fleets and models are held to the bounds of the wire. Pure.

What is within them is safe to compute with, in the simulator as in the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from polyrhythm.codec.explanation import MEASURED_LINK
from polyrhythm.codec.fields import FieldError
from polyrhythm.codec.model import MODEL
from polyrhythm.codec.profile import MEASURED_PROFILE
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import MeasuredLink
from polyrhythm.plan.profile import Profile

LAYERS_MAX = 1 << 14
"""Exchanging layers of a model: the simulator goes through them one by one. The largest models have hundreds."""


def impossible_model(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """What no agent could say of a model: the path of each field, and what is wrong with it."""
    yield from _refused("model", lambda: MODEL.from_proto(MODEL.to_proto(facts)))
    layers = sum(group.layers for group in facts.exchanged)
    if layers > LAYERS_MAX:
        yield "model.exchanged", f"must have at most {LAYERS_MAX} layers in all, got {layers}"


def impossible_profile(profile: Profile, path: str) -> Iterator[tuple[str, str]]:
    """What no agent could have measured."""
    measured = replace(profile, alone=None, host="", in_company=False)  # these are the coordinator's
    yield from _refused(path, lambda: MEASURED_PROFILE.from_proto(MEASURED_PROFILE.to_proto(measured), path))


def impossible_link(measured: MeasuredLink, path: str) -> Iterator[tuple[str, str]]:
    """What no two agents could have measured."""
    yield from _refused(path, lambda: MEASURED_LINK.from_proto(MEASURED_LINK.to_proto(measured), path))


def _refused(path: str, carry: Callable[[], object]) -> Iterator[tuple[str, str]]:
    try:
        carry()
    except FieldError as error:
        yield error.field, error.description
    except (ValueError, TypeError) as error:  # an integer that no message carries
        yield path, str(error)
