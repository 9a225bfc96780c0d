"""The arithmetic of the control-plane benchmark."""

from __future__ import annotations

import pytest
from control_plane_study import Interval, cost_of


def test_what_an_idle_fleet_takes_anyway_is_subtracted() -> None:
    idle = Interval(wall_s=10.0, coordinator_s=0.1, daemons_s=(0.05, 0.05))
    work = Interval(wall_s=20.0, coordinator_s=0.3, daemons_s=(0.15, 0.15))
    cost = cost_of(idle, work, denoise_s=[8.0, 8.0], computing_s=[9.0, 9.0], devices=2)
    assert cost.jobs == 2
    assert cost.coordinator_job_s == pytest.approx(0.05)
    assert cost.daemons_job_s == pytest.approx(0.05)
    assert cost.share_of_denoising == pytest.approx(0.2 / 16)
    assert cost.share_of_devices == pytest.approx(0.2 / 32)
    assert cost.idle_share_of_core == pytest.approx(0.02)
    assert cost.rest_s == pytest.approx(2.0)
    assert "1.25%" in cost.lines()[2]


def test_coordination_never_costs_less_than_nothing() -> None:
    idle = Interval(wall_s=10.0, coordinator_s=0.1, daemons_s=(0.1,))
    work = Interval(wall_s=10.0, coordinator_s=0.1, daemons_s=(0.09,))
    assert cost_of(idle, work, denoise_s=[5.0], computing_s=[6.0], devices=1).share_of_denoising == 0.0
