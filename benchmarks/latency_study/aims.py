"""What the study was meant to show, beside what it shows. The aims were set before anything was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from latency_study.summary import Row
from latency_study.variants import Variant

CUT_TO_EQUAL = {0.5: 0.43, 0.4: 0.49}
"""Share of equal patches' latency that ``balanced`` is to save, by speed of the slow device."""

TO_SOLO_AT_HALF_SPEED = 0.70
TO_SOLO_EVER = 1.02
PREDICTION_ERROR_MEDIAN = 0.05
PREDICTION_ERROR_WORST = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim and the truth.

    Attributes:
        what: is measured.
        aim: in words.
        measured: in words.
        met: whether the truth meets it.
    """

    what: str
    aim: str
    measured: str
    met: bool


def judge(rows: Sequence[Row]) -> tuple[Aim, ...]:
    """All aims that these rows can answer."""
    balanced = [row for row in rows if row.variant is Variant.BALANCED]
    aims = [_cut(row) for row in balanced if row.slow_speed in CUT_TO_EQUAL and not row.drawn]
    aims += [_to_solo_at_half_speed(row) for row in balanced if row.slow_speed == 0.5 and not row.drawn]
    if balanced:
        worst = max(balanced, key=lambda row: row.to_solo)
        aims.append(
            Aim(
                what="balanced / fastest device alone, worst pair",
                aim=f"<= {TO_SOLO_EVER:.2f}",
                measured=f"{worst.to_solo:.3f} at {worst.pair}",
                met=worst.to_solo <= TO_SOLO_EVER,
            )
        )
    return (*aims, *_predictions(rows))


def _cut(row: Row) -> Aim:
    aim = CUT_TO_EQUAL[row.slow_speed]
    paired = row.to_equal_paired
    return Aim(
        what=f"balanced below equal patches at {row.pair}",
        aim=f">= {aim:.0%} (ideal {1 - row.ideal_to_equal:.0%})",
        measured=f"{1 - row.to_equal:.1%} (rounds {1 - paired.high:.1%} to {1 - paired.low:.1%})",
        met=1 - row.to_equal >= aim,
    )


def _to_solo_at_half_speed(row: Row) -> Aim:
    return Aim(
        what=f"balanced / fastest device alone at {row.pair}",
        aim=f"<= {TO_SOLO_AT_HALF_SPEED:.2f} (ideal {row.ideal_to_solo:.2f})",
        measured=f"{row.to_solo:.3f}",
        met=row.to_solo <= TO_SOLO_AT_HALF_SPEED,
    )


def _predictions(rows: Sequence[Row]) -> tuple[Aim, ...]:
    if not rows:
        return ()
    worst = max(rows, key=lambda row: abs(row.prediction_error))
    middle = median(abs(row.prediction_error) for row in rows)
    return (
        Aim(
            what="prediction error, median of all variants and pairs",
            aim=f"<= {PREDICTION_ERROR_MEDIAN:.0%}",
            measured=f"{middle:.1%}",
            met=middle <= PREDICTION_ERROR_MEDIAN,
        ),
        Aim(
            what="prediction error, worst",
            aim=f"<= {PREDICTION_ERROR_WORST:.0%}",
            measured=f"{worst.prediction_error:+.1%} ({worst.variant} at {worst.pair})",
            met=abs(worst.prediction_error) <= PREDICTION_ERROR_WORST,
        ),
    )
