"""Oracle: which version of whose activations each step of a plan reads, row by row, straight from the rule's words."""

from __future__ import annotations

from dataclasses import dataclass

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Exchange, Plan


@dataclass(frozen=True)
class Read:
    """Step ``step`` of ``receiver`` reads version ``version`` of ``sender``."""

    receiver: AgentId
    step: int
    sender: AgentId
    version: int


def reads(plan: Plan) -> frozenset[Read]:
    """Every read of another agent's version."""
    timelines = [_versions_of_row(plan, row) for row in range(plan.row_count)]
    found: set[Read] = set()
    for beat in plan.beats():
        for receiver in plan.agents:
            for step in beat.active_steps(receiver):
                for row in _rows_of_others(beat, receiver, plan.row_count):
                    sender, version = _read(timelines[row], step, beat)
                    if sender != receiver:
                        found.add(Read(receiver=receiver, step=step, sender=sender, version=version))
    return frozenset(found)


def _versions_of_row(plan: Plan, row: int) -> list[tuple[int, AgentId]]:
    """All versions of one row as (active step, its owner at that time), ascending."""
    return [
        (step, assignment.agent)
        for beat in plan.beats()
        for assignment in beat.segment.assignments
        if assignment.rows.begin <= row < assignment.rows.end
        for step in beat.active_steps(assignment.agent)
    ]


def _rows_of_others(beat: Beat, agent: AgentId, row_count: int) -> list[int]:
    own = beat.segment.of(agent).rows
    return [row for row in range(row_count) if not own.begin <= row < own.end]


def _read(timeline: list[tuple[int, AgentId]], step: int, beat: Beat) -> tuple[AgentId, int]:
    if beat.segment.exchange is Exchange.SYNCHRONOUS:
        return next((owner, version) for version, owner in timeline if version == step)
    version, owner = max((version, owner) for version, owner in timeline if version < step)
    return owner, version
