"""Described fleets for tests, in a few words."""

from __future__ import annotations

from math import inf
from pathlib import Path

from polyrhythm.ids import AgentId
from polyrhythm.plan.profile import ForwardLine, Link, Workload
from polyrhythm_coordinator.simulation.fleet_files.description import (
    ControlCosts,
    DeviceDescription,
    DeviceOrigin,
    FleetDescription,
)
from polyrhythm_coordinator.simulation.fleet_files.speed_course import SpeedCourse
from tests.fakes.model import FACTS

EXAMPLE = Path(__file__).parents[2] / "examples" / "fleet.toml"
LINK = Link(latency_s=1e-4, bytes_per_s=1e9)
ROW_S = 0.01
"""Seconds that a row of the fake model's picture takes a device of speed 1; it has 8 rows and 12 steps."""
BESIDE_OTHERS = 1.25


def device(
    name: str,
    *,
    speed: float = 1.0,
    load: tuple[tuple[float, float], ...] = (),
    dies_at_s: float = inf,
    dies_silently: bool = False,
    joins_at_s: float = 0.0,
    drained_at_s: float | None = None,
    overhead_s: float = 0.0,
    host: str = "",
) -> DeviceDescription:
    """One device; in a host, it takes ``BESIDE_OTHERS`` times as long while another one of that works."""
    alone = ForwardLine(fixed_s=0.002 / speed / BESIDE_OTHERS, per_row_s=ROW_S / speed / BESIDE_OTHERS)
    return DeviceDescription(
        alone=alone if host else None,
        origin=DeviceOrigin(host=host),
        agent=AgentId(name),
        fixed_s=0.002 / speed,
        per_row_s=ROW_S / speed,
        encode_s=0.01 / speed,
        decode_s=0.02 / speed,
        step_overhead_s=overhead_s,
        course=SpeedCourse(changes=load, ends_s=dies_at_s),
        dies_silently=dies_silently,
        joins_at_s=joins_at_s,
        drained_at_s=drained_at_s,
    )


def fleet(*devices: DeviceDescription, link: Link = LINK, control: ControlCosts | None = None) -> FleetDescription:
    workload = Workload(model=FACTS.name, width_px=64, height_px=64, batch=2)
    return FleetDescription(
        facts=FACTS,
        workload=workload,
        devices=devices,
        default_link=link,
        control=control or ControlCosts(),
    )
