"""Whatever befalls a described fleet: the job ends, nobody does two things at once, and what dies does nothing more."""

from __future__ import annotations

from itertools import pairwise
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm_coordinator.simulation.engine.timeline import Activity
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription
from polyrhythm_coordinator.simulation.report.outcome import simulate
from tests.worlds.simulated_fleets import device, fleet

moments = st.floats(0.01, 2.0).map(lambda value: round(value, 3))


@st.composite
def devices(draw: st.DrawFn, name: str, *, first: bool) -> DeviceDescription:
    joins_at_s = 0.0 if first else draw(st.sampled_from([0.0, 0.0, draw(moments)]))
    dies_at_s = draw(st.sampled_from([inf, inf, joins_at_s + draw(moments)]))
    load = tuple((at_s, draw(st.floats(0.2, 2.0))) for at_s in sorted(draw(st.sets(moments, max_size=2))))
    return device(
        name,
        speed=draw(st.floats(0.3, 1.0)),
        load=load,
        joins_at_s=joins_at_s,
        dies_at_s=dies_at_s,
        dies_silently=draw(st.booleans()) and dies_at_s < inf,
        drained_at_s=draw(st.sampled_from([None, None, joins_at_s + draw(moments)])),
    )


@st.composite
def fleets(draw: st.DrawFn) -> FleetDescription:
    return fleet(*(draw(devices(name, first=name == "a")) for name in "abcd"[: draw(st.integers(1, 4))]))


@settings(max_examples=50)
@given(fleets(), st.sampled_from(Quality), st.integers(1, 2))
def test_every_simulation_ends_and_makes_sense(described: FleetDescription, quality: Quality, count: int) -> None:
    outcome = simulate(described, ImageRequest(prompt="simulated", quality=quality, count=count))
    assert bool(outcome.error) != (len(outcome.reports) == count)
    for one in described.devices:
        own = [span for span in outcome.spans if span.agent == one.agent]
        assert all(before.end_s <= after.begin_s + 1e-9 for before, after in pairwise(own))
        assert all(span.begin_s >= one.joins_at_s and span.end_s <= outcome.total_s + 1e-9 for span in own)
        assert all(span.end_s <= one.course.ends_s + 1e-9 for span in own)
    for report in outcome.reports:
        # Whatever happened, the picture owes each of its steps to somebody: computing alone has a lower bound.
        fastest_row_s = min(held.per_row_s for held in described.devices)
        assert report.denoise_s >= 12 / 2 * fastest_row_s / 2.0
    assert any(span.activity is Activity.DECODE for span in outcome.spans) == bool(outcome.reports) or outcome.error
