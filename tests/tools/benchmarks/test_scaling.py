"""The scaling benchmark's parts: fleets that repeat, small ones measured, sums over fleets."""

from __future__ import annotations

from pathlib import Path

import pytest
from scaling_study.fleets import FACTS, HEIGHT_PX, Interconnect, draw_fleet
from scaling_study.measure import FleetResult, measure
from scaling_study.plot import plot
from scaling_study.summary import lines, summarise


def result(agents: int, *, plan_s: float, denoise_s: float) -> FleetResult:
    return FleetResult(
        interconnect=Interconnect.BUS,
        agents=agents,
        plan_s=plan_s,
        replan_s=plan_s / 10,
        plan_cpu_s=plan_s,
        replan_cpu_s=plan_s / 10,
        members=agents,
        denoise_s=denoise_s,
        predicted_s=denoise_s * 0.9,
        solo_s=2.0,
        utilisation=0.5,
        simulation_s=0.1,
    )


def test_the_same_seed_draws_the_same_fleet() -> None:
    assert draw_fleet(Interconnect.SWITCH, 5, seed="a") == draw_fleet(Interconnect.SWITCH, 5, seed="a")
    assert draw_fleet(Interconnect.SWITCH, 5, seed="a") != draw_fleet(Interconnect.SWITCH, 5, seed="b")
    assert FACTS.row_count(HEIGHT_PX) == 128


def test_free_messages_are_predicted_exactly_and_help() -> None:
    found = measure(draw_fleet(Interconnect.FREE, 2, seed="a"), Interconnect.FREE, repetitions=1)
    assert found.predicted_s == pytest.approx(found.denoise_s, rel=1e-3)
    assert found.denoise_s < found.solo_s == pytest.approx(50 * 0.8)
    assert (found.agents, found.members) == (2, 2)
    assert 0.8 < found.utilisation <= 1.0


def test_sums_take_the_median_and_aims_the_worst(tmp_path: Path) -> None:
    results = [result(64, plan_s=seconds, denoise_s=seconds) for seconds in (0.1, 0.2, 0.6)]
    (row,) = summarise(results)
    assert (row.plan_s, row.plan_worst_s, row.of_solo, row.of_solo_worst) == (0.2, 0.6, 0.1, 0.3)
    assert row.prediction_error == pytest.approx(-0.1)
    told = list(lines([row]))
    assert told[-2].endswith("aim 500 ms: not met")
    assert told[-1].endswith("aim 20 ms: not met")
    plot([row], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
