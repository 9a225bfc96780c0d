"""Fits how disturbances work together: saturation, and merged steps that follow one another. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from polyrhythm.calibration import SECOND_ORDER_SAMPLERS, saturated

MSE_FLOOR = 1e-12
"""Below this an error is rounding."""

INDIFFERENT = 0.05
"""Misses that differ by so little (a fifth of a decibel, over all probes) tell nothing."""

_SATURATIONS = tuple(10.0 ** (exponent / 40) for exponent in range(-240, 161))
"""Mean squared errors of latents of the order of one; the largest stands for hardly any saturation."""

FOLLOWING_MAX = 2.5 / 1.75
"""Of a smooth picture and a 2M step, whose leading error is proportional to h^3 / 6 + h^2 h' / 4 for a step of length h
after one of h'. Two single steps leave 0.83. One merged step between single ones leaves 2.33, and the single step after
it 0.67 in place of 0.42: 1.75 too much. One that follows a merged one leaves 3.33: 2.5 too much."""
_FOLLOWINGS = tuple(1.0 + (FOLLOWING_MAX - 1.0) * part / 8 for part in range(9))


def followings(sampler: str) -> tuple[float, ...]:
    """What a merged step after a merged one may cost: nothing more where a step does not look back."""
    return _FOLLOWINGS if sampler in SECOND_ORDER_SAMPLERS else (1.0,)


def fit_interaction(sums: Mapping[float, Sequence[float]], measured: Sequence[float]) -> tuple[float, float]:
    """The two parameters of least absolute error in decibels.

    Args:
        sums: for each cost of a following merge, what errors that add as vectors would come to, joint probe by probe.
        measured: what they did come to.

    Returns:
        Where errors begin to saturate, and the cost of a following merge; the smallest of about equally good ones.
    """
    logs = [log(max(MSE_FLOOR, value)) for value in measured]

    def miss(following: float, saturation: float) -> float:
        pairs = zip(sums[following], logs, strict=True)
        return sum(abs(log(saturated(max(MSE_FLOOR, value), saturation)) - wanted) for value, wanted in pairs)

    best = {following: min(_SATURATIONS, key=lambda value: miss(following, value)) for following in sorted(sums)}
    least = min(miss(following, saturation) for following, saturation in best.items())
    following = next(each for each, saturation in best.items() if miss(each, saturation) <= least + INDIFFERENT)
    return best[following], following
