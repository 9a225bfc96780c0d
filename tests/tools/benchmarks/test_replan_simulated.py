"""How soon the product follows a load, in virtual time: the ratio to the faster of two oracles."""

from __future__ import annotations

import pytest
from latency_study.cases import Load
from replan_study.plans import Way
from replan_study.scenarios import NAMED_MOMENT, Scenario
from replan_study.simulated import as_json, simulated_page, simulated_row

from polyrhythm_coordinator.simulation.fleet_files.fleet_file import read_fleet
from tests.worlds.simulated_fleets import EXAMPLE

FACTS = read_fleet(EXAMPLE).facts


def equal(share: float) -> Scenario:
    return Scenario(speeds=(1.0, 1.0), load=Load(device=1, share=share), moment=NAMED_MOMENT)


@pytest.mark.parametrize(("step_s", "share"), [(0.08, 0.6), (0.18, 0.6), (1.0, 0.6), (1.0, 0.4)])
def test_a_load_at_a_third_of_the_picture_costs_a_tenth_more_than_to_one_who_knew(step_s: float, share: float) -> None:
    row = simulated_row(equal(share), FACTS, step_s=step_s)
    assert row.to_oracle(Way.REPLAN) <= 1.10
    assert row.to_oracle(Way.NO_REPLAN) >= 1.35
    assert len(row.takeovers) == 1


def test_a_load_that_costs_little_is_left_alone() -> None:
    row = simulated_row(equal(0.1), FACTS, step_s=1.0)
    assert row.takeovers == ()


def test_what_is_written_says_that_it_is_simulated() -> None:
    row = simulated_row(equal(0.6), FACTS, step_s=1.0)
    document = as_json([row], seed="0")
    assert document["simulated"] is True
    assert "simulated" in simulated_page([row])
    assert simulated_page([row]).splitlines()[-1].endswith("| 16.7 | 22 |")
