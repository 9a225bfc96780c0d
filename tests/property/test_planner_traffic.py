"""Predicted bytes against a reader that looks up every row in the plan's history, and against the agents' own rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_agent.exchange import schedule
from polyrhythm_coordinator.scheduling.planning.message_counts import sent_bytes, versions_sent
from tests.property.version_reads import reads
from tests.values.plan_requests import plan_request

ROWS = 6
FIRST = AgentId("gpu-0")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of one to four members: rows, strides and exchange change between segments, some hold no rows."""
    agents = tuple(AgentId(f"gpu-{index}") for index in range(draw(st.integers(1, 4))))
    begin = step = draw(st.integers(0, 3))
    segments: list[Segment] = []
    for index in range(draw(st.integers(1, 4))):
        synchronous = (index == 0 and len(agents) > 1) or draw(st.booleans())
        strides = [1] * len(agents) if synchronous else draw(strides_of(len(agents)))
        interval = max(strides)
        end = step + interval * draw(st.integers(1, 4))
        cuts = sorted(draw(st.lists(st.integers(0, ROWS), min_size=len(agents) - 1, max_size=len(agents) - 1)))
        counts = [b - a for a, b in zip((0, *cuts), (*cuts, ROWS), strict=True)]
        segments.append(
            Segment(
                begin_step=step,
                end_step=end,
                beat_steps=interval * draw(st.integers(1, 3)),
                exchange=Exchange.SYNCHRONOUS if synchronous else Exchange.DISPLACED,
                assignments=tuple(
                    Assignment(agent=agent, rows=rows, stride=stride)
                    for agent, rows, stride in zip(agents, ranges_from_counts(counts), strides, strict=True)
                ),
            )
        )
        step = end
    return Plan(version=1, begin_step=begin, steps=step, segments=tuple(segments), encoder=FIRST, decoder=FIRST)


def strides_of(agents: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from((1, 2, 4)), min_size=agents, max_size=agents)


@given(plans())
def test_the_versions_sent_are_those_that_somebody_reads(plan: Plan) -> None:
    read = {(read.sender, read.receiver, read.version) for read in reads(plan)}
    beats = tuple(plan.beats())
    sent = {
        (sender, receiver, version)
        for beat, following in zip(beats, (*beats[1:], None), strict=True)
        for sender in plan.agents
        for receiver in plan.agents
        if sender != receiver
        for version in versions_sent(beat, following, sender, receiver)
    }
    assert sent == read


@given(plans())
def test_bytes_are_those_of_the_versions_read_and_of_the_boundaries(plan: Plan) -> None:
    request = plan_request([1.0] * len(plan.agents), rows=ROWS, steps=plan.steps)
    expected = dict.fromkeys(plan.agents, 0)
    for beat in plan.beats():
        for agent in plan.agents:
            tokens = 16 * beat.segment.of(agent).rows.count
            expected[agent] += tokens * 64 * 2 * (len(plan.agents) - 1)
    for sender, _, version in {(read.sender, read.receiver, read.version) for read in reads(plan)}:
        beat = next(beat for beat in plan.beats() if beat.begin_step <= version < beat.end_step)
        expected[sender] += 16 * beat.segment.of(sender).rows.count * (2 * 8 * 256 * 4) * 2
    assert sent_bytes(plan, request) == expected


@given(plans())
def test_the_agents_send_the_versions_that_are_predicted(plan: Plan) -> None:
    beats = tuple(plan.beats())
    for beat, following in zip(beats, (*beats[1:], None), strict=True):
        for sender in plan.agents:
            for receiver in plan.agents:
                if receiver != sender:
                    predicted = versions_sent(beat, following, sender, receiver)
                    assert schedule.message_order(beat, following, sender, receiver) == predicted
