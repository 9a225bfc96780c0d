from __future__ import annotations

import pytest

from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange
from polyrhythm_coordinator.scheduling.planning.quality_policy import Policy, phases, policy_of

SYNCHRONOUS, DISPLACED = Exchange.SYNCHRONOUS, Exchange.DISPLACED


def cut(quality: Quality, *, steps: int, interval: int, begin: int = 0) -> list[tuple[int, int, Exchange, bool]]:
    found = phases(policy_of(quality), begin_step=begin, steps=steps, interval_steps=interval)
    return [(phase.begin_step, phase.end_step, phase.exchange, phase.reduced) for phase in found]


def test_exact_is_one_synchronous_phase() -> None:
    assert cut(Quality.EXACT, steps=50, interval=1) == [(0, 50, SYNCHRONOUS, False)]


def test_high_is_four_synchronous_steps_and_then_displaced_at_full_rate() -> None:
    assert cut(Quality.HIGH, steps=50, interval=1) == [(0, 4, SYNCHRONOUS, False), (4, 50, DISPLACED, False)]


def test_balanced_strides_between_four_warm_up_and_four_tail_steps() -> None:
    assert cut(Quality.BALANCED, steps=50, interval=2) == [
        (0, 4, SYNCHRONOUS, False),
        (4, 46, DISPLACED, True),
        (46, 50, DISPLACED, False),
    ]


def test_fast_has_two_warm_up_steps_and_no_tail() -> None:
    assert cut(Quality.FAST, steps=50, interval=2) == [(0, 2, SYNCHRONOUS, False), (2, 50, DISPLACED, True)]


def test_remainder_lengthens_the_tail() -> None:
    assert cut(Quality.BALANCED, steps=51, interval=2)[1:] == [(4, 46, DISPLACED, True), (46, 51, DISPLACED, False)]
    assert cut(Quality.FAST, steps=51, interval=2)[1:] == [(2, 50, DISPLACED, True), (50, 51, DISPLACED, False)]


def test_interval_of_one_leaves_no_reduced_phase() -> None:
    assert cut(Quality.BALANCED, steps=50, interval=1) == [(0, 4, SYNCHRONOUS, False), (4, 50, DISPLACED, False)]


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("interval", [1, 2, 4])
@pytest.mark.parametrize("begin", [0, 1, 3, 5, 17])
def test_phases_cover_what_is_left_and_start_synchronously(quality: Quality, interval: int, begin: int) -> None:
    for steps in range(begin + 1, begin + 16):
        check_phases(quality, begin=begin, steps=steps, interval=interval)


def check_phases(quality: Quality, *, begin: int, steps: int, interval: int) -> None:
    found = phases(policy_of(quality), begin_step=begin, steps=steps, interval_steps=interval)
    assert [phase.begin_step for phase in found] == [begin, *(phase.end_step for phase in found[:-1])]
    assert found[-1].end_step == steps
    assert found[0].exchange is SYNCHRONOUS
    assert all(phase.end_step > phase.begin_step for phase in found)
    assert all((phase.end_step - phase.begin_step) % interval == 0 for phase in found if phase.reduced)
    full_rate_end = sum(p.end_step - p.begin_step for p in found if not p.reduced and p.exchange is DISPLACED)
    if any(phase.reduced for phase in found):
        assert full_rate_end >= policy_of(quality).tail_steps


def test_jobs_too_short_lose_the_body_first_and_then_the_tail() -> None:
    assert cut(Quality.BALANCED, steps=9, interval=2) == [(0, 4, SYNCHRONOUS, False), (4, 9, DISPLACED, False)]
    assert cut(Quality.BALANCED, steps=4, interval=2) == [(0, 4, SYNCHRONOUS, False)]
    assert cut(Quality.BALANCED, steps=1, interval=2) == [(0, 1, SYNCHRONOUS, False)]


def test_a_resumed_epoch_needs_one_synchronous_step_beyond_the_warm_up() -> None:
    assert cut(Quality.BALANCED, steps=50, interval=2, begin=20)[0] == (20, 21, SYNCHRONOUS, False)
    assert cut(Quality.BALANCED, steps=50, interval=2, begin=2)[0] == (2, 4, SYNCHRONOUS, False)
    assert cut(Quality.BALANCED, steps=50, interval=2, begin=49) == [(49, 50, SYNCHRONOUS, False)]


@pytest.mark.parametrize("strides", [(2,), (1, 2, 3), (1, 1), (1, 4, 2)])
def test_strides_must_be_a_chain_of_divisors(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="divisor"):
        Policy(displaced=True, warmup_steps=1, strides=strides)


def test_a_displaced_policy_must_fill_the_activations_first() -> None:
    with pytest.raises(ValueError, match="warm-up"):
        Policy(displaced=True)
