"""Plans under memory limits against brute force, and what agents really hold against what the planner counts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise, product
from math import inf, lcm

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Link
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.exchange.schedule import beat_traffic
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.memory_model import memory_need, share_need
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import phases, policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.plan_requests import FACTS, MEMORY, NO_COST, plan_request
from tests.values.strategies import plans

ROWS = 8
STEPS = 20
TOKENS_A_ROW = 16
VERSION_BYTES = 2 * ROWS * TOKENS_A_ROW * 8 * 2 * 256 * 4
OWN_ROW_BYTES = 2 * TOKENS_A_ROW * 40_000
LASTING_BYTES = MEMORY.denoiser_bytes + 2 * MEMORY.condition_bytes + 8 * ROWS * TOKENS_A_ROW * 64
ENCODING_BYTES = MEMORY.denoiser_bytes + MEMORY.text_encoder_bytes + 2 * MEMORY.condition_bytes
DECODE_BYTES = MEMORY.autoencoder_bytes + MEMORY.decode_pixel_bytes * ROWS * 8 * 128
FIXED_BYTES = 2 * ROWS * TOKENS_A_ROW * MEMORY.image_token_bytes
FACTS_HERE = replace(FACTS, memory=replace(MEMORY, own_token_bytes=40_000))

speed = st.floats(min_value=0.1, max_value=1.0)
room = st.integers(-1, ROWS + 1).map(lambda rows: rows * OWN_ROW_BYTES + OWN_ROW_BYTES // 2)
"""Memory for so many rows beside two versions of the picture."""
links = st.sampled_from([NO_COST, Link(latency_s=1e-3, bytes_per_s=2e8)])


@cache
def compositions(agents: int) -> tuple[tuple[int, ...], ...]:
    return tuple(counts for counts in product(range(ROWS + 1), repeat=agents) if sum(counts) == ROWS)


def fits(usable_bytes: int, rows: int, exchange: Exchange, *, in_gang: bool) -> bool:
    """The rule, written out again: a version of the whole picture, two in a displaced step, beside the own rows."""
    versions = (1 if exchange is Exchange.SYNCHRONOUS else 2) if in_gang else 0
    held_bytes = versions * VERSION_BYTES + FIXED_BYTES + rows * OWN_ROW_BYTES if rows else 0
    return LASTING_BYTES + held_bytes <= usable_bytes


def brute_force_s(request: PlanRequest) -> float:
    """Seconds of the fastest of all plans that fit; infinite where none does."""
    policy = policy_of(request.image.quality)
    best_s = inf
    for size in range(1, len(request.agents) + 1):
        for gang in combinations(request.agents, size):
            if not any(request.usable_bytes[agent] >= LASTING_BYTES + DECODE_BYTES for agent in gang):
                continue
            if not any(request.usable_bytes[agent] >= ENCODING_BYTES for agent in gang):
                continue
            whole_s = [request.profile(agent).forward_s(ROWS) for agent in gang]
            for strides in product(policy.strides, repeat=size):
                if strides[whole_s.index(min(whole_s))] == 1:
                    best_s = min(best_s, _fastest_s(request, gang, strides))
    return best_s


def _fastest_s(request: PlanRequest, gang: tuple[AgentId, ...], strides: tuple[int, ...]) -> float:
    policy = policy_of(request.image.quality if len(gang) > 1 else Quality.EXACT)
    cost = GangCost(request=request, agents=gang)
    total_s = 0.0
    for phase in phases(policy, begin_step=0, steps=STEPS, interval_steps=lcm(*strides)):
        paces = strides if phase.reduced else (1,) * len(gang)
        seconds = [
            cost.step_s(rows, paces, phase.exchange)
            for rows in compositions(len(gang))
            if sum(count for count, pace in zip(rows, paces, strict=True) if pace > 1)
            <= policy.reduced_share_max * ROWS
            and all(
                not count or fits(request.usable_bytes[agent], count, phase.exchange, in_gang=len(gang) > 1)
                for agent, count in zip(gang, rows, strict=True)
            )
        ]
        total_s += (phase.end_step - phase.begin_step) * min(seconds, default=inf)
    return total_s


@settings(max_examples=40)
@given(st.lists(st.tuples(speed, room), min_size=1, max_size=4), links, st.sampled_from(Quality))
def test_the_search_is_within_one_percent_of_brute_force_under_memory_limits(
    fleet: list[tuple[float, int]], link: Link, quality: Quality
) -> None:
    speeds, rooms = zip(*fleet, strict=True)
    base_bytes = LASTING_BYTES + FIXED_BYTES + 2 * VERSION_BYTES
    usable = {AgentId(f"gpu-{index}"): max(0, base_bytes + room) for index, room in enumerate(rooms)}
    request = plan_request(
        speeds, rows=ROWS, steps=STEPS, quality=quality, link=link, facts=FACTS_HERE, usable_bytes=usable
    )
    best_s = brute_force_s(request)
    if best_s == inf:
        with pytest.raises(NoAgentsError):
            search_plan(request)
        return
    chosen = search_plan(request).chosen
    # Boundaries cost what the oracle leaves out; without them the plan is as fast as the fastest.
    cost = GangCost(request=request, agents=chosen.plan.agents)
    boundaries_s = sum(
        -(-segment.step_count // segment.beat_steps) * cost.boundary_s(segment) for segment in chosen.plan.segments
    )
    assert best_s * (1 - 1e-9) <= chosen.prediction.denoise_s - boundaries_s
    assert chosen.prediction.denoise_s - boundaries_s <= best_s * 1.01 + 2 * boundaries_s
    for share in chosen.prediction.agents:
        assert share.memory_bytes <= usable[share.agent]
        assert share.memory_bytes == memory_need(chosen.plan, share.agent, request).total_bytes


@settings(max_examples=60)
@given(plans(), st.data())
def test_no_agent_ever_holds_more_versions_than_are_counted(plan: Plan, data: st.DataObject) -> None:
    """The schedule by which agents exchange, step by step: what was posted and is not read for the last time."""
    assume(len(plan.agents) > 1)
    agent = data.draw(st.sampled_from(plan.agents))
    request = plan_request([1.0], rows=plan.row_count)
    row_bytes = request.row_bytes
    counted_bytes = [
        share_need(request, request.agents[0], rows=rows, exchange=segment.exchange, in_gang=True).exchange_bytes
        for segment in plan.segments
        if (rows := segment.of(agent).rows.count)
    ]
    # One that never holds rows is never sent any.
    assert _most_rows_held(plan, agent) * row_bytes <= max(counted_bytes, default=0)


def _most_rows_held(plan: Plan, agent: AgentId) -> int:
    """Row units of activations in an agent's mailbox when one of its steps begins, its own kept ones included."""
    beats = (*plan.beats(), None)
    held: dict[tuple[AgentId, int], tuple[int, RowRange]] = {}
    most, previous = 0, None
    for beat, following in pairwise(beats):
        assert beat is not None
        traffic = beat_traffic(previous, beat, following, agent)
        own = beat.segment.of(agent).rows
        for step in beat.active_steps(agent):
            posted = [(peer, v) for peer, versions in traffic.receives.items() for v in versions[step]]
            for peer, version in posted:
                held[peer, version] = (traffic.last_reads[peer, version], beat.segment.of(peer).rows)
            if (agent, step) in traffic.last_reads:
                held[agent, step] = (traffic.last_reads[agent, step], own)
            held = {key: entry for key, entry in held.items() if entry[0] >= step}
            most = max(most, sum(rows.count for _, rows in held.values()))
        for peer, versions in traffic.late_receives.items():
            for version in versions:
                held[peer, version] = (traffic.last_reads[peer, version], beat.segment.of(peer).rows)
        most = max(most, sum(rows.count for _, rows in held.values()))
        previous = beat
    return most
