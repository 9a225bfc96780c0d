"""From single runs to the table and the aims. Pure: owns which numbers are reported and how each is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from latency_study.aims import Aim
from latency_study.pictures import psnr_db
from latency_study.statistics import Spread

from polyrhythm.job.events import ReplanReason
from replan_study.campaign import Round
from replan_study.plans import ORACLES, Way
from replan_study.scenarios import Scenario

TO_ORACLE = 1.10
PSNR_LOSS_DB = 1.0
SPEED_CHANGED = str(ReplanReason.SPEED_CHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WayRow:
    """One way in one scenario.

    Attributes:
        scenario: its name.
        way: how the plan was made.
        denoise_s: measured.
        psnr_db: mean over rounds, against the single device's picture.
        core_share: of its core that the loaded device got, median.
        not_loaded: pictures that were done before the load appeared.
        plans: of the last round.
    """

    scenario: str
    way: Way
    denoise_s: Spread
    psnr_db: float
    core_share: float
    not_loaded: int
    plans: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRow:
    """One scenario: what re-planning is worth.

    Attributes:
        scenario: its name.
        drawn: whether a seed chose it.
        to_no_replan: median of the ratio within a round.
        to_at_once: the same to the plan that knew as soon as the load appeared.
        to_oracle: the same to the faster one of both oracles, by their medians.
        oracle: which one that is.
        psnr_gain_db: mean decibels of re-planned pictures less those of the first plan's.
        reaction_steps: fine steps from the load to the new plan, median over the rounds that were planned anew.
        reaction_s: seconds from the load until the client was told, median over them.
        replanned: rounds that were planned anew for the load.
        rounds: all of them.
    """

    scenario: str
    drawn: bool
    to_no_replan: float
    to_at_once: float
    to_oracle: float
    oracle: Way
    psnr_gain_db: float
    reaction_steps: float | None
    reaction_s: float | None
    replanned: int
    rounds: int


def way_rows(scenario: Scenario, rounds: Sequence[Round]) -> tuple[WayRow, ...]:
    """A row a way."""
    rows: list[WayRow] = []
    for way in Way:
        runs = [(run, one.reference_HW3) for one in rounds for run in one.runs if run.way is way]
        rows.append(
            WayRow(
                scenario=scenario.name,
                way=way,
                denoise_s=Spread.of([run.denoise_s for run, _ in runs]),
                psnr_db=fmean(psnr_db(run.pixels_HW3, reference_HW3) for run, reference_HW3 in runs),
                core_share=median(run.core_share for run, _ in runs),
                not_loaded=sum(run.after_s is None for run, _ in runs),
                plans=runs[-1][0].plans,
            )
        )
    return tuple(rows)


def scenario_row(scenario: Scenario, rounds: Sequence[Round], steps: int) -> ScenarioRow:
    """What re-planning is worth in one scenario.

    Args:
        scenario: the load.
        rounds: at least one.
        steps: fine steps of the picture.
    """
    ways = {row.way: row for row in way_rows(scenario, rounds)}
    oracle = min(ORACLES, key=lambda way: ways[way].denoise_s.median)
    reactions = [
        reaction
        for one in rounds
        for run in one.runs
        if run.way is Way.REPLAN
        for reaction in [each for each in run.reactions if each.after_s > 0 and each.reason == SPEED_CHANGED][:1]
    ]
    return ScenarioRow(
        scenario=scenario.name,
        drawn=scenario.drawn,
        to_no_replan=_ratio(rounds, Way.NO_REPLAN),
        to_at_once=_ratio(rounds, Way.AT_ONCE),
        to_oracle=_ratio(rounds, oracle),
        oracle=oracle,
        psnr_gain_db=ways[Way.REPLAN].psnr_db - ways[Way.NO_REPLAN].psnr_db,
        reaction_steps=_median([each.begin_step - scenario.moment * steps for each in reactions]),
        reaction_s=_median([each.after_s for each in reactions]),
        replanned=len(reactions),
        rounds=len(rounds),
    )


def judge(rows: Sequence[ScenarioRow]) -> tuple[Aim, ...]:
    """Aims beside the truth, for the named and for all scenarios."""
    aims: list[Aim] = []
    for words, chosen in (("named loads", [row for row in rows if not row.drawn]), ("all loads", rows)):
        if not chosen:
            continue
        slowest = max(chosen, key=lambda row: row.to_oracle)
        worst = min(chosen, key=lambda row: row.psnr_gain_db)
        aims.append(
            Aim(
                what=f"re-plan / faster oracle, worst of {len(chosen)} {words}",
                aim=f"<= {TO_ORACLE:.2f}",
                measured=f"{slowest.to_oracle:.3f} at {slowest.scenario}",
                met=slowest.to_oracle <= TO_ORACLE,
            )
        )
        aims.append(
            Aim(
                what=f"PSNR of re-plan less that of no re-plan, worst of {len(chosen)} {words}",
                aim=f">= -{PSNR_LOSS_DB:g} dB",
                measured=f"{worst.psnr_gain_db:+.1f} dB at {worst.scenario}",
                met=worst.psnr_gain_db >= -PSNR_LOSS_DB,
            )
        )
    return tuple(aims)


def _ratio(rounds: Sequence[Round], other: Way) -> float:
    """Median over rounds of re-plan over another way."""
    walls_s = [{run.way: run.denoise_s for run in one.runs} for one in rounds]
    return median(of_round[Way.REPLAN] / of_round[other] for of_round in walls_s)


def _median(numbers: Sequence[float]) -> float | None:
    return median(numbers) if numbers else None


def scenario_row_from_json(data: Mapping[str, Any]) -> ScenarioRow:
    """A row as a result file holds it."""
    return ScenarioRow(**{**data, "oracle": Way(data["oracle"])})


def way_row_from_json(data: Mapping[str, Any]) -> WayRow:
    """The same of a way's row."""
    spread, plans = Spread(**data["denoise_s"]), tuple(data["plans"])
    return WayRow(**{**data, "way": Way(data["way"]), "denoise_s": spread, "plans": plans})
