"""Which activations a step reads, who must send them, and in which order: a pure function of the plan.

Owns the message rule (STADI's intervals; the form over segments and beats is this project's own). Knows no tensor, no
clock and no transport: what a picture is made of never depends on arrival times.

Version ``k`` of an agent is what it computed for its rows at its active step ``k``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Beat, Exchange, Plan
from polyrhythm.plan.rows import RowRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One piece of the image as a step sees it.

    Attributes:
        rows: the piece.
        source: who computed it.
        version: active step of the source at which it was computed.
        held_rows: all rows of that version; ``rows`` lies in it.
    """

    rows: RowRange
    source: AgentId
    version: int
    held_rows: RowRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One version and the members that it goes to, in gang order."""

    version: int
    destinations: tuple[AgentId, ...]


def reads(beat: Beat, previous: Beat | None, agent: AgentId, step: int) -> tuple[Read, ...]:
    """What an active step of an agent reads, in row order; own rows are of the step itself.

    Args:
        beat: the beat that holds the step.
        previous: the beat before it in this epoch, if any.
        agent: who reads; holds rows in ``beat``.
        step: one of its active steps.

    Raises:
        ValueError: the plan wants versions from before the epoch.
    """
    pieces: list[Read] = []
    for owner in _holders(beat):
        version = _version_within(beat, owner, agent, step)
        if version is not None:
            pieces.append(Read(rows=owner.rows, source=owner.agent, version=version, held_rows=owner.rows))
        elif previous is None:
            raise ValueError(f"step {step} of {agent} reads rows {owner.rows} from before the epoch")
        else:
            pieces.extend(_last_versions(previous, owner.rows))
    return tuple(pieces)


def readers(beat: Beat, following: Beat | None, agent: AgentId) -> Mapping[tuple[AgentId, int], tuple[int, ...]]:
    """Steps at which one agent reads each version that is computed in a beat.

    Args:
        beat: where the versions are computed.
        following: the beat after it, if any.
        agent: who reads.

    Returns:
        ``(source, version)`` to ascending active steps of ``agent``, in ``beat`` or ``following``. Own versions are
        listed where a later step reads them: rows that the agent gives away.
    """
    found: dict[tuple[AgentId, int], list[int]] = {}
    owners = _holders(beat)
    for step in beat.active_steps(agent):
        for owner in owners:
            version = _version_within(beat, owner, agent, step)
            if version is not None and owner.agent != agent:
                found.setdefault((owner.agent, version), []).append(step)
    if following is not None:
        for step in following.active_steps(agent):
            for source, version in dict.fromkeys((r.source, r.version) for r in reads(following, beat, agent, step)):
                if version < following.begin_step:
                    found.setdefault((source, version), []).append(step)
    return {key: tuple(steps) for key, steps in found.items()}


def sends(beat: Beat, following: Beat | None, agent: AgentId) -> tuple[Send, ...]:
    """What an agent sends in a beat, in order; a version that nobody else reads is left out."""
    read_by = {peer: readers(beat, following, peer) for peer in beat.segment.agents if peer != agent}
    planned = (
        Send(
            version=version,
            destinations=tuple(peer for peer, versions in read_by.items() if (agent, version) in versions),
        )
        for version in beat.active_steps(agent)
    )
    return tuple(send for send in planned if send.destinations)


def message_order(beat: Beat, following: Beat | None, source: AgentId, destination: AgentId) -> tuple[int, ...]:
    """Versions that one member sends to another in a beat, in the order of their messages.

    Each is at most one message a layer, in layer order: halos go to neighbours only. The message of the boundary
    follows, if the source holds rows.
    """
    return tuple(sorted(version for owner, version in readers(beat, following, destination) if owner == source))


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatTraffic:
    """One member's part in one beat.

    Attributes:
        agent: whose.
        reads: what each of its active steps reads, in row order.
        destinations: members that each of its versions goes to; versions that nobody reads are left out.
        receives: for each peer and each active step, the versions to post receives for when that step starts.
        late_receives: for each peer, the versions to post receives for at the boundary: a member without rows has no
            steps, but may get rows, and read, in the next beat.
        last_reads: for each version of this beat that this member keeps, the step after which it goes.
        boundary_sources: peers whose state comes at the boundary.
    """

    agent: AgentId
    reads: Mapping[int, tuple[Read, ...]]
    destinations: Mapping[int, tuple[AgentId, ...]]
    receives: Mapping[AgentId, Mapping[int, tuple[int, ...]]]
    late_receives: Mapping[AgentId, tuple[int, ...]]
    last_reads: Mapping[tuple[AgentId, int], int]
    boundary_sources: tuple[AgentId, ...]


def beat_traffic(previous: Beat | None, beat: Beat, following: Beat | None, agent: AgentId) -> BeatTraffic:
    """Everything that one member sends, receives and reads in a beat.

    Args:
        previous: the beat before in this epoch; None at its start.
        beat: the beat.
        following: the beat after it; None at the end of the plan.
        agent: whose part.

    Raises:
        ValueError: the plan wants versions from before the epoch.
    """
    steps = beat.active_steps(agent)
    stride = beat.segment.of(agent).stride
    read_at = readers(beat, following, agent)
    incoming = {
        peer: tuple(sorted(version for source, version in read_at if source == peer))
        for peer in beat.segment.agents
        if peer != agent
    }
    return BeatTraffic(
        agent=agent,
        reads={step: reads(beat, previous, agent, step) for step in steps},
        destinations={send.version: send.destinations for send in sends(beat, following, agent)},
        receives={
            peer: {step: tuple(v for v in versions if step <= v < step + stride) for step in steps}
            for peer, versions in incoming.items()
        },
        late_receives={peer: () if steps else versions for peer, versions in incoming.items()},
        last_reads={key: at[-1] for key, at in read_at.items()},
        boundary_sources=tuple(a.agent for a in beat.segment.assignments if a.rows.count and a.agent != agent),
    )


class Sizes(Protocol):
    """Bytes of the two kinds of messages of a beat."""

    def version_bytes(self, rows: RowRange, reader_rows: RowRange) -> int:
        """All layers of one version, from the owner of some rows to the owner of others."""
        ...

    def boundary_bytes(self, rows: RowRange) -> int:
        """The message of one boundary."""
        ...


def pair_bytes(beat: Beat, following: Beat | None, source: AgentId, destination: AgentId, sizes: Sizes) -> int:
    """Bytes that one member sends to another in a beat, its boundary included."""
    if source == destination:
        return 0
    rows, reader_rows = beat.segment.of(source).rows, beat.segment.of(destination).rows
    versions = message_order(beat, following, source, destination)
    return len(versions) * sizes.version_bytes(rows, reader_rows) + sizes.boundary_bytes(rows)


def beat_bytes(beat: Beat, following: Beat | None, source: AgentId, sizes: Sizes) -> int:
    """Bytes that one member sends to all others in a beat, its boundary included."""
    return sum(pair_bytes(beat, following, source, peer, sizes) for peer in beat.segment.agents)


def plan_bytes(plan: Plan, source: AgentId, sizes: Sizes) -> int:
    """Bytes that one member sends over all beats of a plan that is followed to its end."""
    beats: tuple[Beat | None, ...] = (*plan.beats(), None)
    return sum(beat_bytes(beat, following, source, sizes) for beat, following in pairwise(beats) if beat is not None)


def _holders(beat: Beat) -> list[Assignment]:
    """Assignments that hold rows, top of the image first."""
    return sorted((a for a in beat.segment.assignments if a.rows.count), key=lambda a: a.rows)


def _version_within(beat: Beat, owner: Assignment, agent: AgentId, step: int) -> int | None:
    """Version of an owner's rows that a step of an agent reads, if it was computed in the same beat."""
    if owner.agent == agent or beat.segment.exchange is Exchange.SYNCHRONOUS:
        return step
    before = [version for version in beat.active_steps(owner.agent) if version < step]
    return before[-1] if before else None


def _last_versions(beat: Beat, rows: RowRange) -> Iterable[Read]:
    """The last version of some rows in a beat: everybody who held a part of them then."""
    for owner in _holders(beat):
        piece = owner.rows.intersect(rows)
        if piece.count:
            version = beat.active_steps(owner.agent)[-1]
            yield Read(rows=piece, source=owner.agent, version=version, held_rows=owner.rows)
