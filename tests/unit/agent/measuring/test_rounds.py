"""How long a device measures: within the seconds that it is given, however slow it is; how uneven its layers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

import pytest

from polyrhythm_agent.measuring.profile import fit_line
from polyrhythm_agent.measuring.rounds import TimedForward, Timing, jitter_of, mean_jitter, time_forwards


@dataclass(slots=True)
class Clock:
    now_s: float = 0.0


@dataclass(slots=True)
class Forward:
    """Takes so many seconds a row, and more the first time."""

    row_units: int
    clock: Clock
    row_s: float
    first_s: float = 0.0
    noise: Sequence[float] = (1.0,)
    runs: int = 0

    def time_s(self) -> float:
        took_s = self.row_s * self.row_units * self.noise[self.runs % len(self.noise)]
        took_s += self.first_s if self.runs == 0 else 0.0
        self.runs += 1
        self.clock.now_s += took_s
        return took_s


@dataclass(slots=True)
class Device:
    row_s: float
    first_s: float = 0.0
    noise: Sequence[float] = (1.0,)
    rows_that_fit: int = 100
    clock: Clock = field(default_factory=Clock)

    def measure(self, counts: Sequence[int], *, seconds: float, to_the_end: bool = False) -> tuple[Timing, ...]:
        forwards = [
            Forward(rows, self.clock, self.row_s, first_s=self.first_s if rows == counts[0] else 0.0, noise=self.noise)
            for rows in counts
        ]
        return time_forwards(
            forwards, seconds=seconds, to_the_end=to_the_end, first_s=self._first_s, clock_s=lambda: self.clock.now_s
        )

    def _first_s(self, forward: TimedForward) -> float | None:
        return forward.time_s() if forward.row_units <= self.rows_that_fit else None


COUNTS = (4, 8, 16, 24, 32)


def test_a_fast_device_measures_every_size_and_stops_when_it_is_exact() -> None:
    device = Device(row_s=1e-4)
    timings = device.measure(COUNTS, seconds=1.0)
    assert [timing.row_units for timing in timings] == [8, 16, 24, 32]
    assert all(len(timing.seconds) == 3 for timing in timings)
    assert device.clock.now_s < 0.1


def test_noise_is_averaged_out_as_long_as_there_is_time() -> None:
    device = Device(row_s=1e-4, noise=(0.8, 1.0, 1.2, 0.9, 1.1))
    timings = device.measure(COUNTS, seconds=1.0)
    assert min(len(timing.seconds) for timing in timings) > 20
    assert device.clock.now_s == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("whole_s", [4.0, 20.0, 60.0])
def test_a_slow_device_measures_few_rows_and_the_rest_is_scaled(whole_s: float) -> None:
    device = Device(row_s=whole_s / 32, first_s=whole_s / 10)
    timings = device.measure(COUNTS, seconds=1.0)
    assert [timing.row_units for timing in timings] == [4, 8]
    fixed_s, per_row_s = fit_line([(timing.row_units, fmean(timing.seconds)) for timing in timings])
    assert fixed_s + 32 * per_row_s == pytest.approx(whole_s, rel=0.01)
    assert device.clock.now_s <= 0.6 * whole_s + 1.0


def test_what_the_first_forward_pays_for_is_no_part_of_the_line() -> None:
    timings = Device(row_s=0.01, first_s=5.0).measure(COUNTS, seconds=1.0)
    assert max(second for timing in timings for second in timing.seconds) == pytest.approx(0.08)


def test_beside_others_it_goes_on_until_the_time_is_over() -> None:
    slow, fast = Device(row_s=4e-3), Device(row_s=1e-4)
    for device in (slow, fast):
        device.measure(COUNTS[:-1], seconds=1.0, to_the_end=True)
    assert slow.clock.now_s == pytest.approx(1.0, abs=0.3)
    assert fast.clock.now_s == pytest.approx(1.0, abs=0.02)


def test_rows_that_do_not_fit_are_not_tried_again() -> None:
    assert [timing.row_units for timing in Device(row_s=1e-4, rows_that_fit=16).measure(COUNTS, seconds=1.0)] == [
        4,
        8,
        16,
    ]
    assert Device(row_s=1e-4, rows_that_fit=3).measure(COUNTS, seconds=1.0) == ()


def test_a_drift_of_the_whole_device_is_no_jitter() -> None:
    assert jitter_of([[0.1 * factor, 0.2 * factor] for factor in (1.0, 1.3, 0.8, 1.1)]) == pytest.approx(0.0)


def test_jitter_is_the_deviation_of_a_gap() -> None:
    random = Random(3)
    gaps_s = [[random.gauss(0.01, 0.001) for _ in range(12)] for _ in range(60)]
    assert jitter_of(gaps_s) == pytest.approx(0.1, rel=0.1)


def test_two_forwards_say_nothing_of_jitter() -> None:
    assert jitter_of([[0.1, 0.2], [0.2, 0.1]]) == 0.0


def test_the_jitter_is_that_of_the_row_counts_that_were_timed() -> None:
    uneven = [[0.1, 0.2], [0.11, 0.19], [0.09, 0.21], [0.1, 0.2]]
    gaps_s = {2: uneven, 4: uneven[:3], 8: [], 16: []}
    timings = [Timing(2, (0.3, 0.3, 0.3)), Timing(4, (0.3, 0.3))]
    assert mean_jitter(timings, gaps_s) == jitter_of(uneven[1:]) > 0
    assert mean_jitter(timings[1:], gaps_s) == 0.0
