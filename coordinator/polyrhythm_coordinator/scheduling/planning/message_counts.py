"""Which versions of activations a plan sends, and how many bytes (docs/architecture.md, "Which version a step reads").

Owns counting only. The agents decide what they send by their own code from the same rule; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Exchange, Plan
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest


def versions_sent(beat: Beat, following: Beat | None, sender: AgentId, receiver: AgentId) -> tuple[int, ...]:
    """Active steps of a beat whose version one member sends to another, ascending.

    A version is sent if and only if some step of the receiver reads a row of it, in this beat or the next.
    """
    computed = beat.active_steps(sender)
    if not computed:
        return ()
    reads = beat.active_steps(receiver)
    strides = (beat.segment.of(agent).stride for agent in (sender, receiver))
    read = _versions_read(beat, *strides) if reads else set[int]()
    if following is not None and _reads_from_before(following, beat, sender, receiver):
        read.add(computed[-1])
    return tuple(sorted(read))


def sent_bytes(plan: Plan, request: PlanRequest) -> dict[AgentId, int]:
    """Bytes that each member sends: versions of activations, and x and x0 at each boundary, the last one included.

    The condition and a resumed state, sent once by the root when an epoch starts, are no part of it.
    """
    request = request.among(plan.agents)
    beats = tuple(plan.beats())
    total_A = np.zeros(len(plan.agents), dtype=np.int64)
    # Beats of one length between the same two segments send alike, and a plan has few kinds of them.
    known: dict[tuple[int, int, int], NDArray[np.int64]] = {}
    for beat, following in zip(beats, (*beats[1:], None), strict=True):
        kind = (id(beat.segment), 0 if following is None else id(following.segment), beat.end_step - beat.begin_step)
        if kind not in known:
            known[kind] = _beat_bytes_A(beat, following, request)
        total_A += known[kind]
    return {agent: int(sent) for agent, sent in zip(plan.agents, total_A, strict=True)}


def _beat_bytes_A(beat: Beat, following: Beat | None, request: PlanRequest) -> NDArray[np.int64]:
    """Bytes that each member sends in a beat: ``versions_sent`` for all pairs at once. Shape letter: A members."""
    shares = beat.segment.assignments
    rows_A = np.array([share.rows.count for share in shares])
    strides_A = np.array([share.stride for share in shares])
    counts_AA = np.zeros((len(shares), len(shares)), dtype=np.int64)
    last_is_read_AA = np.zeros_like(counts_AA, dtype=np.bool_)
    for sends in set(strides_A.tolist()):
        for reads in set(strides_A.tolist()):
            pairs_AA = np.outer((strides_A == sends) & (rows_A > 0), (strides_A == reads) & (rows_A > 0))
            read = _versions_read(beat, sends, reads)
            counts_AA[pairs_AA] = len(read)
            last_is_read_AA[pairs_AA] = range(beat.begin_step, beat.end_step, sends)[-1] in read
    if following is not None and following.segment.exchange is Exchange.DISPLACED:
        later = following.segment.assignments
        begin_A, end_A = np.array([(share.rows.begin, share.rows.end) for share in shares]).T
        later_begin_A, later_end_A = np.array([(share.rows.begin, share.rows.end) for share in later]).T
        kept_AA = np.minimum(end_A[:, None], later_end_A) - np.maximum(begin_A[:, None], later_begin_A)
        reads_on_AA = np.clip(kept_AA, 0, None) < rows_A[:, None]
        counts_AA += reads_on_AA & (later_end_A > later_begin_A) & ~last_is_read_AA & (rows_A > 0)[:, None]
    np.fill_diagonal(counts_AA, 0)
    version_AA = _version_bytes_AA([share.rows for share in shares], request)
    boundary_A = np.array([request.boundary_bytes(share.rows) * (len(shares) - 1) for share in shares])
    return ((counts_AA * version_AA).sum(axis=1) + boundary_A) * (rows_A > 0)


def _version_bytes_AA(rows: Sequence[RowRange], request: PlanRequest) -> NDArray[np.int64]:
    """Bytes of a version of each member's rows to each other one; only to neighbours do they depend on the reader."""
    nobody = RowRange(begin=0, end=0)
    bytes_AA = np.tile(np.array([[request.version_bytes(own, nobody)] for own in rows]), (1, len(rows)))
    at = {held.begin: index for index, held in enumerate(rows) if held.count}
    for upper, held in enumerate(rows):
        lower = at.get(held.end)
        if held.count and lower is not None:
            bytes_AA[upper, lower] = request.version_bytes(held, rows[lower])
            bytes_AA[lower, upper] = request.version_bytes(rows[lower], held)
    return bytes_AA


def _versions_read(beat: Beat, sender_stride: int, receiver_stride: int) -> set[int]:
    """Versions of a sender with rows that a receiver with rows reads in the beat itself."""
    computed = range(beat.begin_step, beat.end_step, sender_stride)
    if beat.segment.exchange is Exchange.SYNCHRONOUS:
        return set(computed)
    reading = range(beat.begin_step, beat.end_step, receiver_stride)
    return {max(k for k in computed if k < step) for step in reading if step > beat.begin_step}


def _reads_from_before(following: Beat, beat: Beat, sender: AgentId, receiver: AgentId) -> bool:
    """Whether the receiver's first step of the following beat reads the sender's last version of this one.

    Later steps find a version of every row in their own beat, since all members start it together.
    """
    if following.segment.exchange is Exchange.SYNCHRONOUS or not following.active_steps(receiver):
        return False
    rows = beat.segment.of(sender).rows
    return rows.intersect(following.segment.of(receiver).rows).count < rows.count
