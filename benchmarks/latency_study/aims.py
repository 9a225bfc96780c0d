"""What the study was meant to show, beside what it shows. The aims were set before anything was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from latency_study.cases import Group
from latency_study.summary import Row
from latency_study.variants import Variant

CUT_TO_EQUAL = {0.5: 0.43, 0.4: 0.49}
"""Share of equal patches' latency that ``balanced`` is to save, by speed of the slow device."""

OCCUPIED, CUT_WHEN_OCCUPIED = 0.6, 0.45
"""The same where somebody takes that share of the second device."""
SHARE_ROUNDING = 1e-6
TO_SOLO_AT_HALF_SPEED = 0.70
TO_SOLO_EVER = 1.02
PREDICTION_ERROR_MEDIAN = 0.05
PREDICTION_ERROR_WORST = 0.12
UTILISATION = 0.90
OWN_RULES = (Variant.UNCALIBRATED, Variant.BALANCED)


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
    pairs = [row for row in balanced if row.is_pair and not row.drawn]
    aims = [_cut(row, CUT_TO_EQUAL[row.slow_speed]) for row in pairs if row.slow_speed in CUT_TO_EQUAL]
    aims += [_to_solo_at_half_speed(row) for row in pairs if row.slow_speed == 0.5]
    aims += [_cut(row, CUT_WHEN_OCCUPIED) for row in rows if _is_occupied(row)]
    if balanced:
        aims.append(_worst_to_solo("balanced / fastest device alone, worst case", balanced))
    return (*aims, *_fleets(rows), *_predictions(rows))


def _is_occupied(row: Row) -> bool:
    """Both kinds of ``balanced`` beside a device of which somebody takes 60 %, by emulation or in truth."""
    taken = row.load_share or (1.0 - row.slow_speed if row.is_pair and not row.drawn else 0.0)
    return row.variant in OWN_RULES and abs(taken - OCCUPIED) < SHARE_ROUNDING


def _worst_to_solo(what: str, rows: Sequence[Row]) -> Aim:
    worst = max(rows, key=lambda row: row.to_solo)
    return Aim(
        what=what,
        aim=f"<= {TO_SOLO_EVER:.2f}",
        measured=f"{worst.to_solo:.3f} at {worst.case}",
        met=worst.to_solo <= TO_SOLO_EVER,
    )


def _fleets(rows: Sequence[Row]) -> tuple[Aim, ...]:
    """Over all drawn fleets, for both kinds of ``balanced``."""
    aims: list[Aim] = []
    for variant in OWN_RULES:
        drawn = [row for row in rows if row.group is Group.FLEETS and row.variant is variant]
        if not drawn:
            continue
        fleets = f"{len(drawn)} random fleets"
        aims.append(_worst_to_solo(f"{variant} / fastest device alone, worst of {fleets}", drawn))
        busy = sorted(drawn, key=lambda row: row.member_utilisation.median)
        middle = median(row.member_utilisation.median for row in drawn)
        lowest = busy[0].member_utilisation.median
        aims.append(
            Aim(
                what=f"members' utilisation by {variant}, each of {fleets}",
                aim=f">= {UTILISATION:.0%}",
                measured=f"{lowest:.0%} at {busy[0].case}; median {middle:.0%}",
                met=lowest >= UTILISATION,
            )
        )
    return tuple(aims)


def _cut(row: Row, aim: float) -> Aim:
    paired = row.to_equal_paired
    return Aim(
        what=f"{row.variant} below equal patches at {row.case}",
        aim=f">= {aim:.0%} (ideal {1 - row.ideal_to_equal:.0%})",
        measured=f"{1 - row.to_equal:.1%} (rounds {1 - paired.high:.1%} to {1 - paired.low:.1%})",
        met=1 - row.to_equal >= aim,
    )


def _to_solo_at_half_speed(row: Row) -> Aim:
    return Aim(
        what=f"balanced / fastest device alone at {row.case}",
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
            what="prediction error, median of all variants and cases",
            aim=f"<= {PREDICTION_ERROR_MEDIAN:.0%}",
            measured=f"{middle:.1%}",
            met=middle <= PREDICTION_ERROR_MEDIAN,
        ),
        Aim(
            what="prediction error, worst",
            aim=f"<= {PREDICTION_ERROR_WORST:.0%}",
            measured=f"{worst.prediction_error:+.1%} ({worst.variant} at {worst.case})",
            met=abs(worst.prediction_error) <= PREDICTION_ERROR_WORST,
        ),
    )
