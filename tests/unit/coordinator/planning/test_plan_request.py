from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.plan.profile import Link
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.plan_request import UNMEASURED_CPU_LINK, UNMEASURED_LINK, PlanRequest
from tests.values.plan_requests import FACTS, image, plan_request, profile

GPU_0, GPU_1 = AgentId("gpu-0"), AgentId("gpu-1")


def test_no_candidate_is_a_typed_error() -> None:
    with pytest.raises(NoAgentsError, match="tiny"):
        PlanRequest(image=image(), facts=FACTS, profiles=())


def test_a_profile_for_another_workload_is_refused() -> None:
    with pytest.raises(ValueError, match="profile of gpu-0"):
        PlanRequest(image=image(), facts=FACTS, profiles=(profile("gpu-0", image(rows=8), whole_s=1.0),))
    with pytest.raises(ValueError, match="profile of gpu-0"):
        PlanRequest(image=image(), facts=FACTS, profiles=(profile("gpu-0", image(guidance=1.0), whole_s=1.0),))


def test_an_agent_profiled_twice_and_an_empty_rest_are_refused() -> None:
    once = profile("gpu-0", image(), whole_s=1.0)
    with pytest.raises(ValueError, match="twice"):
        PlanRequest(image=image(), facts=FACTS, profiles=(once, once))
    with pytest.raises(ValueError, match="no steps are left"):
        PlanRequest(image=image(steps=8), facts=FACTS, profiles=(once,), begin_step=8)


def test_a_link_is_the_measured_one_else_its_reverse_else_the_assumed_one() -> None:
    one_way = Link(latency_s=1.0, bytes_per_s=1.0)
    request = replace(plan_request([1.0, 0.5, 0.5]), links={(GPU_0, GPU_1): one_way})
    assert request.link(GPU_0, GPU_1) is one_way
    assert request.link(GPU_1, GPU_0) is one_way
    assert request.link(GPU_0, AgentId("gpu-2")) is UNMEASURED_LINK


def test_an_assumed_link_costs_computing_where_a_cpu_handles_the_messages() -> None:
    request = replace(plan_request([1.0, 0.5]), links={}, on_cpu=frozenset({GPU_0}))
    assert request.link(GPU_0, GPU_1) is UNMEASURED_CPU_LINK
    assert request.link(GPU_1, GPU_0) is UNMEASURED_LINK
    measured = Link(latency_s=1.0, bytes_per_s=1.0)
    assert replace(request, links={(GPU_0, GPU_1): measured}).link(GPU_0, GPU_1) is measured


def test_sizes_follow_from_the_picture() -> None:
    request = plan_request([1.0])
    rows = RowRange(begin=2, end=5)
    assert request.tokens(rows) == 3 * 16
    below = RowRange(begin=5, end=16)
    assert request.version_bytes(rows, below) == 3 * 16 * (2 * 256 * 4) * 8 * 2
    assert request.boundary_bytes(rows) == 3 * 16 * 64 * 2
    assert request.version_bytes(RowRange(begin=5, end=5), below) == 0


def test_the_state_of_an_fp64_model_is_twice_as_wide() -> None:
    request = plan_request([1.0])
    wide = replace(request, facts=replace(FACTS, dtype="float64"))
    rows = RowRange(begin=0, end=1)
    assert wide.boundary_bytes(rows) == 2 * request.boundary_bytes(rows)


def test_the_last_row_unit_may_be_short() -> None:
    facts = replace(FACTS, row_unit_px=16)
    picture = replace(image(), height_px=40)
    request = PlanRequest(image=picture, facts=facts, profiles=(profile("gpu-0", picture, whole_s=1.0),))
    assert request.row_count == 3
    assert request.tokens(RowRange(begin=2, end=3)) == 16
    assert request.tokens(RowRange(begin=0, end=3)) == 5 * 16
