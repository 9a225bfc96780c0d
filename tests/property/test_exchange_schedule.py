"""The message rule over random plans: what is read is sent, what is sent is read, and both ends count alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from hypothesis import given

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Exchange, Plan
from polyrhythm_agent.exchange.schedule import (
    Read,
    beat_bytes,
    beat_traffic,
    message_order,
    pair_bytes,
    plan_bytes,
    reads,
    sends,
)
from polyrhythm_agent.exchange.shapes import MessageSizes
from tests.tiny_models.layers import convolutional_layers, geometry
from tests.values.strategies import plans

ROWS_MAX = 1 << 19
SIZES = MessageSizes(
    geometry=geometry(ROWS_MAX, convolutional_layers(columns=5), width=5),
    activation_dtype=torch.float32,
    state_dtype=torch.float64,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A beat and its neighbours."""

    previous: Beat | None
    beat: Beat
    following: Beat | None


def windows(plan: Plan) -> Iterator[Window]:
    beats = list(plan.beats())
    for previous, beat, following in zip([None, *beats], beats, [*beats[1:], None], strict=False):
        yield Window(previous=previous, beat=beat, following=following)


def all_reads(plan: Plan) -> Iterator[tuple[AgentId, int, Window, Read]]:
    """Reader, step, where, what."""
    for window in windows(plan):
        for agent in plan.agents:
            for step in window.beat.active_steps(agent):
                for read in reads(window.beat, window.previous, agent, step):
                    yield agent, step, window, read


def all_sends(plan: Plan) -> set[tuple[AgentId, int, AgentId]]:
    """Source, version, destination."""
    return {
        (agent, send.version, peer)
        for window in windows(plan)
        for agent in plan.agents
        for send in sends(window.beat, window.following, agent)
        for peer in send.destinations
    }


@given(plan=plans())
def test_each_step_reads_every_row_once_in_row_order(plan: Plan) -> None:
    for window in windows(plan):
        for agent in plan.agents:
            for step in window.beat.active_steps(agent):
                row = 0
                for read in reads(window.beat, window.previous, agent, step):
                    assert read.rows.begin == row
                    assert read.rows.count > 0
                    assert read.held_rows.intersect(read.rows) == read.rows
                    row = read.rows.end
                assert row == plan.row_count


@given(plan=plans())
def test_own_rows_are_fresh_and_others_as_the_mode_says(plan: Plan) -> None:
    for agent, step, window, read in all_reads(plan):
        own = window.beat.segment.of(agent).rows
        if own.intersect(read.rows).count:
            assert (read.source, read.version, read.rows) == (agent, step, own)
        elif window.beat.segment.exchange is Exchange.SYNCHRONOUS:
            assert read.version == step
        else:
            oldest = window.beat if read.version >= window.beat.begin_step else window.previous
            assert oldest is not None
            assert read.version in oldest.active_steps(read.source)
            assert read.held_rows == oldest.segment.of(read.source).rows
            assert read.version < step
            newer = [v for v in oldest.active_steps(read.source) if read.version < v < step]
            assert newer == []


@given(plan=plans())
def test_what_is_read_is_sent_and_what_is_sent_is_read(plan: Plan) -> None:
    read = {(read.source, read.version, agent) for agent, _, _, read in all_reads(plan) if read.source != agent}
    assert all_sends(plan) == read


@given(plan=plans())
def test_both_ends_of_a_pair_have_the_same_order(plan: Plan) -> None:
    for window in windows(plan):
        traffic = {a: beat_traffic(window.previous, window.beat, window.following, a) for a in plan.agents}
        for source in plan.agents:
            for destination in plan.agents:
                if source == destination:
                    continue
                sent = [v for v, to in traffic[source].destinations.items() if destination in to]
                incoming = traffic[destination].receives[source]
                received = [version for step in sorted(incoming) for version in incoming[step]]
                received += traffic[destination].late_receives[source]
                assert sent == received == sorted(sent)
                assert tuple(sent) == message_order(window.beat, window.following, source, destination)


@given(plan=plans())
def test_receives_are_posted_no_earlier_than_the_plan_allows_and_before_they_are_read(plan: Plan) -> None:
    for window in windows(plan):
        for agent in plan.agents:
            traffic = beat_traffic(window.previous, window.beat, window.following, agent)
            stride = window.beat.segment.of(agent).stride
            posted: dict[tuple[AgentId, int], int] = {}
            for peer, versions_at in traffic.receives.items():
                assert not (traffic.late_receives[peer] and versions_at)
                for step, versions in versions_at.items():
                    assert all(step <= version < step + stride for version in versions)
                    posted |= dict.fromkeys(((peer, version) for version in versions), step)
            for step, pieces in traffic.reads.items():
                for piece in pieces:
                    if piece.source != agent and piece.version >= window.beat.begin_step:
                        assert posted[piece.source, piece.version] <= step


@given(plan=plans())
def test_a_version_is_kept_until_its_last_reader_and_no_longer(plan: Plan) -> None:
    last: dict[tuple[AgentId, AgentId, int], int] = {}
    for agent, step, _, read in all_reads(plan):
        if (read.source, read.version) != (agent, step):
            last[agent, read.source, read.version] = step
    planned = {
        (agent, *version): step
        for window in windows(plan)
        for agent in plan.agents
        for version, step in beat_traffic(window.previous, window.beat, window.following, agent).last_reads.items()
    }
    assert planned == last


@given(plan=plans())
def test_the_next_beat_decides_only_about_each_members_last_version(plan: Plan) -> None:
    for window in windows(plan):
        for agent in plan.agents:
            alone = {send.version: set(send.destinations) for send in sends(window.beat, None, agent)}
            known = {send.version: set(send.destinations) for send in sends(window.beat, window.following, agent)}
            for version in window.beat.active_steps(agent)[:-1]:
                assert alone.get(version) == known.get(version)
            for version in window.beat.active_steps(agent)[-1:]:
                assert alone.get(version, set()) <= known.get(version, set())


@given(plan=plans())
def test_bytes_are_those_of_the_messages(plan: Plan) -> None:
    for agent in plan.agents:
        versions = sum(
            SIZES.version_bytes(window.beat.segment.of(agent).rows, window.beat.segment.of(reader).rows)
            for window in windows(plan)
            for source, version, reader in all_sends(plan)
            if source == agent and window.beat.begin_step <= version < window.beat.end_step
        )
        boundaries = sum(
            2 * (2 * 5 * 8) * window.beat.segment.of(agent).rows.count * (len(plan.agents) - 1)
            for window in windows(plan)
        )
        assert plan_bytes(plan, agent, SIZES) == versions + boundaries
        for window in windows(plan):
            pairs = [pair_bytes(window.beat, window.following, agent, peer, SIZES) for peer in plan.agents]
            assert beat_bytes(window.beat, window.following, agent, SIZES) == sum(pairs)
