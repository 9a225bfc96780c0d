"""Which versions of activations a plan sends, and how many bytes (docs/architecture.md, "Which version a step reads").

Owns counting only. The agents decide what they send by their own code from the same rule; a test compares the two.
"""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm.plan import Beat, Exchange, Plan
from polyrhythm_coordinator.scheduling.request import PlanRequest


def versions_sent(beat: Beat, following: Beat | None, sender: AgentId, receiver: AgentId) -> tuple[int, ...]:
    """Active steps of a beat whose version one member sends to another, ascending.

    A version is sent if and only if some step of the receiver reads a row of it, in this beat or the next.
    """
    computed = beat.active_steps(sender)
    if not computed:
        return ()
    reading = beat.active_steps(receiver)
    if beat.segment.exchange is Exchange.SYNCHRONOUS:
        read = set(computed) if reading else set[int]()
    else:
        read = {max(k for k in computed if k < step) for step in reading if step > beat.begin_step}
    if following is not None and _reads_from_before(following, beat, sender, receiver):
        read.add(computed[-1])
    return tuple(sorted(read))


def sent_bytes(plan: Plan, request: PlanRequest) -> dict[AgentId, int]:
    """Bytes that each member sends: versions of activations, and x and x0 at each boundary, the last one included.

    The condition and a resumed state, sent once by the root when an epoch starts, are no part of it.
    """
    beats = tuple(plan.beats())
    total = dict.fromkeys(plan.agents, 0)
    for beat, following in zip(beats, (*beats[1:], None), strict=True):
        for sender in plan.agents:
            rows = beat.segment.of(sender).rows
            for receiver in plan.agents:
                if receiver != sender and rows.count:
                    versions = len(versions_sent(beat, following, sender, receiver))
                    version_bytes = request.version_bytes(rows, beat.segment.of(receiver).rows)
                    total[sender] += versions * version_bytes + request.boundary_bytes(rows)
    return total


def _reads_from_before(following: Beat, beat: Beat, sender: AgentId, receiver: AgentId) -> bool:
    """Whether the receiver's first step of the following beat reads the sender's last version of this one.

    Later steps find a version of every row in their own beat, since all members start it together.
    """
    if following.segment.exchange is Exchange.SYNCHRONOUS or not following.active_steps(receiver):
        return False
    rows = beat.segment.of(sender).rows
    return rows.intersect(following.segment.of(receiver).rows).count < rows.count
