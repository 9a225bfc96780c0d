"""Quality policies as phases of the fine grid: warm-up, body, remainder, tail (STADI).

Owns which steps are synchronous and which may run at a reduced rate. Knows neither agents nor cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import assert_never

from polyrhythm.job.image import STRIDES, ImageSpec, Quality
from polyrhythm.plan.plan import Exchange

RESUME_WARMUP_STEPS = 1
"""Synchronous steps at the start of a resumed epoch beyond the policy's own warm-up.

One is enough: a displaced step reads each row's last active step, and after one synchronous step everybody holds that
version of all rows. The policy's longer warm-up guards the first steps of the schedule, which lie behind.
"""

BALANCED_REDUCED_SHARE = 0.5
"""Of the image at a reduced rate, at most, under ``balanced``: the largest share whose loss was measured with strides
1, 2 (two equal halves lose 4 dB against displaced, half of it won back by the tail; the whole image loses 8 dB)."""

FAST_REDUCED_SHARE = 0.75
"""The same under ``fast``, whose user has traded quality away: three of four equal devices' rows."""

BALANCED_LOSS_DB, FAST_LOSS_DB = 1.0, 3.0
"""How far below plain displaced parallelism the predicted PSNR of a calibrated model's picture may lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far a plan may leave the picture of one device.

    Attributes:
        displaced: whether steps after the warm-up may read stale activations.
        warmup_steps: synchronous steps at the start of the grid.
        tail_steps: last steps at full rate, at least.
        strides: allowed strides, ascending from 1, each a divisor of the next, so that their least common multiple
            is the largest.
        reduced_share_max: of the image's rows that may be denoised at a stride above 1, where no calibration says what
            that costs.
        loss_db: where one does: how far below plain displaced parallelism the predicted PSNR may lie. None where
            nothing is reduced.
        merges_all: whether all members may skip the same step, within that loss; else a gang's fastest member takes
            every step.
    """

    displaced: bool
    warmup_steps: int = 0
    tail_steps: int = 0
    strides: tuple[int, ...] = (1,)
    reduced_share_max: float = 0.0
    loss_db: float | None = None
    merges_all: bool = False

    def __post_init__(self) -> None:
        if self.strides[0] != 1 or any(b % a or b <= a for a, b in pairwise(self.strides)):
            raise ValueError(f"strides must ascend from 1, each a divisor of the next: {self.strides}")
        if self.displaced and self.warmup_steps < 1:
            raise ValueError("a displaced policy needs at least one warm-up step to fill the activations")
        if not 0 <= self.reduced_share_max <= 1 or self.tail_steps < 0:
            raise ValueError(f"share {self.reduced_share_max} and tail {self.tail_steps} are out of range")
        if self.loss_db is not None and not self.loss_db > 0:
            raise ValueError(f"a loss must be positive: {self.loss_db} dB")


def policy_of(quality: Quality) -> Policy:
    """The policy that a quality's name stands for."""
    match quality:
        case Quality.EXACT:
            return Policy(displaced=False)
        case Quality.HIGH:
            return Policy(displaced=True, warmup_steps=4)
        case Quality.BALANCED:
            return Policy(
                displaced=True,
                warmup_steps=4,
                tail_steps=4,
                strides=(1, 2),
                reduced_share_max=BALANCED_REDUCED_SHARE,
                loss_db=BALANCED_LOSS_DB,
            )
        case Quality.FAST:
            return Policy(
                displaced=True,
                warmup_steps=2,
                strides=(1, 2),
                reduced_share_max=FAST_REDUCED_SHARE,
                loss_db=FAST_LOSS_DB,
                merges_all=True,
            )
        case _:
            assert_never(quality)


def at_full_rate(policy: Policy) -> Policy:
    """The same policy for a sampler that takes stride 1 only."""
    return replace(policy, strides=(1,), reduced_share_max=0.0)


def policy_for(image: ImageSpec) -> Policy:
    """The policy of a picture: that of its quality, with what the user overrides."""
    policy, overrides = policy_of(image.quality), image.overrides
    if not policy.displaced:
        return policy
    strides = policy.strides
    if overrides.max_stride is not None:
        strides = tuple(stride for stride in STRIDES if stride <= overrides.max_stride)
    return replace(
        policy,
        warmup_steps=policy.warmup_steps if overrides.warmup_steps is None else overrides.warmup_steps,
        tail_steps=policy.tail_steps if overrides.tail_steps is None else overrides.tail_steps,
        strides=strides,
        loss_db=policy.loss_db if overrides.loss_db is None else overrides.loss_db,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Consecutive fine steps under one rule.

    Attributes:
        begin_step: first fine step.
        end_step: last fine step, exclusive.
        exchange: how other agents' rows are seen.
        reduced: whether agents run at their strides; else at stride 1.
    """

    begin_step: int
    end_step: int
    exchange: Exchange
    reduced: bool


def phases(policy: Policy, *, begin_step: int, steps: int, interval_steps: int) -> tuple[Phase, ...]:
    """Cuts the remaining steps into phases, without empty ones.

    The body is the longest multiple of the interval between warm-up and tail. What is left over runs at full rate and
    lengthens the tail: late full-rate steps buy the most quality (log-SNR moves fastest there; a longer warm-up buys
    next to nothing), and the tail has its rows and segment already. Jobs too short for all parts lose the body first,
    then the tail.

    Args:
        policy: what is allowed.
        begin_step: 0, or the boundary of a resumed epoch.
        steps: fine steps of the image.
        interval_steps: least common multiple of the strides; 1 makes no reduced phase.

    Returns:
        One synchronous phase, then at most two displaced ones.
    """
    if not policy.displaced:
        return (Phase(begin_step=begin_step, end_step=steps, exchange=Exchange.SYNCHRONOUS, reduced=False),)
    warm_end = min(steps, max(policy.warmup_steps, begin_step + RESUME_WARMUP_STEPS))
    tail_begin = max(warm_end, steps - policy.tail_steps)
    body_end = warm_end if interval_steps == 1 else tail_begin - (tail_begin - warm_end) % interval_steps
    cuts = (
        Phase(begin_step=begin_step, end_step=warm_end, exchange=Exchange.SYNCHRONOUS, reduced=False),
        Phase(begin_step=warm_end, end_step=body_end, exchange=Exchange.DISPLACED, reduced=True),
        Phase(begin_step=body_end, end_step=steps, exchange=Exchange.DISPLACED, reduced=False),
    )
    return tuple(phase for phase in cuts if phase.end_step > phase.begin_step)
