"""Oracle for the cost model: runs a plan layer by layer on a simulated clock, message by message.

Independent of the planner's formulas: every layer of every active step publishes its keys and values, which leave after
those before them and share the sender's wire among their receivers; then it waits for the versions that the
architecture page says it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from tests.property.version_reads import Read, reads


@dataclass
class Member:
    steps: list[int]
    layer_s: float
    time_s: float = 0.0
    wire_free_s: float = 0.0
    layer: int = 0
    published: bool = False
    arrivals_s: dict[tuple[int, int, AgentId], float] = field(default_factory=dict)


def denoise_s(plan: Plan, request: PlanRequest) -> float:
    """Simulated wall seconds of all steps."""
    all_reads = reads(plan)
    return sum(_beat_s(beat, all_reads, request) for beat in plan.beats())


def _beat_s(beat: Beat, all_reads: frozenset[Read], request: PlanRequest) -> float:
    members = {
        a.agent: Member(
            steps=list(beat.active_steps(a.agent)),
            layer_s=request.profile(a.agent).forward_s(a.rows.count) / request.facts.layers,
        )
        for a in beat.segment.assignments
    }
    while any(member.steps for member in members.values()):
        moved = [_advance(agent, members, beat, all_reads, request) for agent in members]
        assert any(moved), "the plan deadlocks"
    return _boundary_s(members, beat, request)


def _advance(
    agent: AgentId, members: dict[AgentId, Member], beat: Beat, all_reads: frozenset[Read], request: PlanRequest
) -> bool:
    """Runs one layer if everything it reads has been published; says whether anything happened."""
    member = members[agent]
    if not member.steps:
        return False
    step = member.steps[0]
    published_now = not member.published
    if published_now:
        _publish(agent, step, member, beat, all_reads, request)
    needed = [
        (read.version, member.layer, agent, read.sender)
        for read in all_reads
        if read.receiver == agent and read.step == step and read.version >= beat.begin_step
    ]
    arrivals = [members[sender].arrivals_s.get((version, layer, to)) for version, layer, to, sender in needed]
    if any(arrival is None for arrival in arrivals):
        return published_now
    member.time_s = max([member.time_s, *(a for a in arrivals if a is not None)]) + member.layer_s
    member.published = False
    member.layer += 1
    if member.layer == request.facts.layers:
        member.layer = 0
        member.steps.pop(0)
    return True


def _publish(
    agent: AgentId, step: int, member: Member, beat: Beat, all_reads: frozenset[Read], request: PlanRequest
) -> None:
    rows = beat.segment.of(agent).rows
    size_bytes = request.version_bytes(rows, rows) / request.facts.layers  # keys and values only: the same to everybody
    receivers = {read.receiver for read in all_reads if read.sender == agent and read.version == step}
    member.wire_free_s = max(member.wire_free_s, member.time_s)
    member.wire_free_s += sum(size_bytes / request.link(agent, receiver).bytes_per_s for receiver in receivers)
    for receiver in receivers:
        arrival_s = member.wire_free_s + request.link(agent, receiver).latency_s
        member.arrivals_s[step, member.layer, receiver] = arrival_s
    member.published = True


def _boundary_s(members: dict[AgentId, Member], beat: Beat, request: PlanRequest) -> float:
    """x and x0 follow the versions over the same wires; then the control records go round the ring."""
    end_s = max(member.time_s for member in members.values())
    if len(members) == 1:
        return end_s
    for agent, member in members.items():
        rows = beat.segment.of(agent).rows
        leaves_s = max(member.wire_free_s, member.time_s)
        for receiver in members:
            if receiver != agent and rows.count:
                link = request.link(agent, receiver)
                leaves_s += request.boundary_bytes(rows) / link.bytes_per_s
                end_s = max(end_s, leaves_s + link.latency_s)
    latency_s = max(request.link(a, b).latency_s for a in members for b in members if a != b)
    return end_s + (len(members) - 1) * latency_s
