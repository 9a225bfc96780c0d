"""Why a candidate is no member of the chosen plan, with numbers that bear it out. Decides nothing.

What keeps a device out is seldom its own speed alone: the messages of one more member, or that all wait for it, can
cost more than a row less saves the others. So the chosen plan is costed once more with one row on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Objective
from polyrhythm.plan.explanation import Exclusion, ExclusionReason
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_coordinator.scheduling.planning.amounts import mib_apart, seconds_apart, seconds_decimals
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.explanation import Option, misfit, same_seconds, shortage
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit, share_need
from polyrhythm_coordinator.scheduling.planning.plan_builder import beat_steps
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import RESUME_WARMUP_STEPS, policy_for
from polyrhythm_coordinator.scheduling.planning.strides import EXHAUSTIVE_AGENTS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class StepParts:
    """Seconds of a mean fine step of a plan.

    Attributes:
        computing_s: the longest forward of any member.
        messages_s: what the exchange, and boundaries, add to that.
        waiting_s: what it adds that members take now longer, now shorter, and that the latest one counts.
    """

    computing_s: float
    messages_s: float
    waiting_s: float

    @property
    def total_s(self) -> float:
        """The whole step."""
        return self.computing_s + self.messages_s + self.waiting_s

    def message(self, decimals: int) -> str:
        """Those that there are, in words."""
        parts = (("computing", self.computing_s), ("messages", self.messages_s), ("waiting", self.waiting_s))
        return ", ".join(f"{name} {part_s:.{decimals}f} s" for name, part_s in parts if round(part_s, decimals))


def exclusions(options: Sequence[Option], chosen: Option, request: PlanRequest) -> tuple[Exclusion, ...]:
    """Why each candidate outside the chosen plan takes no part.

    Args:
        options: all plans that were compared.
        chosen: one of them.
        request: what was asked for.
    """
    members = set(chosen.plan.agents)
    left_out = [agent for agent in request.agents if agent not in members]
    if not left_out:
        return ()
    fastest_with: dict[AgentId, float] = {}
    fastest_alone: dict[AgentId, float] = {}
    for option in sorted(options, key=lambda option: option.total_s):
        agents = option.plan.agents
        for agent in agents:
            (fastest_with if len(agents) > 1 else fastest_alone).setdefault(agent, option.total_s)
    together = GangCost(request=request, agents=request.agents)
    single = request.image.objective is Objective.THROUGHPUT and not fastest_with
    return tuple(
        misfit(agent, request)
        or (
            _why_alone(agent, fastest_alone.get(agent), chosen, request)
            if single
            else _why(agent, fastest_with.get(agent), chosen, request, together)
        )
        for agent in left_out
    )


def _too_slow(agent: AgentId, message: str) -> Exclusion:
    return Exclusion(agent=agent, reason=ExclusionReason.TOO_SLOW, message=message)


def _why_alone(agent: AgentId, alone_s: float | None, chosen: Option, request: PlanRequest) -> Exclusion:
    """Where single devices alone are compared."""
    if alone_s is None:
        message = shortage(agent, request) or "alone it cannot make the picture"
        return Exclusion(agent=agent, reason=ExclusionReason.TOO_LITTLE_MEMORY, message=message)
    if same_seconds(alone_s, chosen.total_s):
        message = f"it would not make the picture sooner ready: {chosen.total_s:.3g} s by the chosen device as by it"
        return _too_slow(agent, message)
    with_it, without = seconds_apart(alone_s, chosen.total_s)
    return _too_slow(agent, f"alone it takes {with_it}, the chosen plan {without}")


def _why(
    agent: AgentId, with_it_s: float | None, chosen: Option, request: PlanRequest, together: GangCost
) -> Exclusion:
    """Where gangs are compared."""
    same = f"it would not make the picture sooner ready: {chosen.total_s:.3g} s with it or without it"
    if with_it_s is not None:
        if with_it_s < chosen.total_s or same_seconds(with_it_s, chosen.total_s):
            return _too_slow(agent, same)
        with_it, without = seconds_apart(with_it_s, chosen.total_s)
        return _too_slow(agent, f"the fastest gang with it takes {with_it}, the chosen plan without it {without}")
    if request.own_facts:  # what a gang of several dtypes exchanges is of a size of its own
        together = GangCost(request=request.among((*chosen.plan.agents, agent)), agents=request.agents)
    parts = _with_one_row(chosen.plan, agent, together)
    step, step_s = mean_step(parts, together), chosen.cost.denoise_s(chosen.plan) / sum(steps for steps, _ in parts)
    if step.total_s > step_s and not same_seconds(step.total_s, step_s):
        decimals = seconds_decimals(step.total_s, step_s)
        message = f"no gang gives it rows: with one row on it a step takes {step.total_s:.{decimals}f} s"
        return _too_slow(
            agent, f"{message} ({step.message(decimals)}), a step of the chosen plan {step_s:.{decimals}f} s"
        )
    no_room = _no_room(parts, together.request)
    if no_room:
        return Exclusion(agent=agent, reason=ExclusionReason.TOO_LITTLE_MEMORY, message=no_room)
    message = same if same_seconds(step.total_s, step_s) else _not_among_the_fastest(agent, chosen.plan, request)
    return _too_slow(agent, message or "no faster plan with it was found")


def _no_room(parts: Sequence[tuple[int, Segment]], request: PlanRequest) -> str:
    """Who has no room for its share beside what a gang exchanges; empty where all have."""
    fit = MemoryFit(request=request)
    for _, part in parts:
        for share in part.assignments:
            rows, exchange = share.rows.count, part.exchange
            if rows > fit.rows(share.agent, exchange=exchange, in_gang=True):
                need = share_need(request, share.agent, rows=rows, exchange=exchange, in_gang=True)
                needed, free = mib_apart(need.denoising_bytes, request.usable_bytes[share.agent])
                return f"in a gang with it, {share.agent} needs {needed} for {rows} rows, free to it are {free}"
    return ""


def _not_among_the_fastest(agent: AgentId, chosen: Plan, request: PlanRequest) -> str:
    """That of many devices not all gangs are compared."""
    if len(request.agents) <= EXHAUSTIVE_AGENTS_MAX:
        return ""
    whole_s = {name: request.profile(name).forward_s(request.row_count) for name in (*chosen.agents, agent)}
    slowest = max(chosen.agents, key=lambda name: whole_s[name])
    return (
        f"of {len(request.agents)} devices the fastest of each number are compared: the whole picture takes it "
        f"{whole_s[agent]:.6g} s a step, the last of the chosen ones, {slowest}, {whole_s[slowest]:.6g} s"
    )


def mean_step(parts: Sequence[tuple[int, Segment]], together: GangCost) -> StepParts:
    """What a fine step takes in the mean.

    Args:
        parts: fine steps, and an interval of them.
        together: the cost of all candidates as one gang.
    """
    computing_s, messages_s, waiting_s = 0.0, 0.0, 0.0
    for steps, segment in parts:
        working = tuple(assignment for assignment in segment.assignments if assignment.rows.count)
        cost = together.restricted(tuple(assignment.agent for assignment in working))
        rows, strides = tuple(share.rows.count for share in working), tuple(share.stride for share in working)
        compute_s_A = cost.compute_s_AK(np.array(rows)[:, None], strides)[:, 0]
        step_s, longest_s = cost.step_s(rows, strides, segment.exchange), float(compute_s_A.max())
        uneven = segment.exchange is Exchange.SYNCHRONOUS and len(working) > 1
        uneven_s = cost.uneven_s(compute_s_A) if uneven else 0.0
        boundary_s = together.restricted(segment.agents).boundary_s(segment)
        boundaries = -(-steps // beat_steps(segment.interval_steps, step_s, boundary_s))
        computing_s += steps * longest_s
        messages_s += steps * max(0.0, step_s - longest_s - uneven_s) + boundaries * boundary_s
        waiting_s += steps * uneven_s
    left = sum(steps for steps, _ in parts)
    return StepParts(computing_s=computing_s / left, messages_s=messages_s / left, waiting_s=waiting_s / left)


def _with_one_row(chosen: Plan, agent: AgentId, together: GangCost) -> list[tuple[int, Segment]]:
    """Fine steps, and an interval of them: the plan's, with one row of the slowest member on another device.

    Its stride is the smallest of all: who skips a step that another one takes makes another picture.
    """
    members, found = {*chosen.agents, agent}, list[tuple[int, Segment]]()
    order = tuple(name for name in together.agents if name in members)
    for steps, exchange, assignments in _cuts(chosen, together.request):
        synchronous = exchange is Exchange.SYNCHRONOUS
        rows = {share.agent: share.rows.count for share in assignments}
        strides = {share.agent: 1 if synchronous else share.stride for share in assignments}
        forward_s = {name: together.request.profile(name).forward_s(rows[name]) / strides[name] for name in rows}
        rows[max(rows, key=lambda name: forward_s[name])] -= 1
        rows[agent], strides[agent] = 1, min(strides.values())
        interval, ranges = lcm(*strides.values()), ranges_from_counts([rows[name] for name in order])
        shares = tuple(
            Assignment(agent=name, rows=held, stride=strides[name]) for name, held in zip(order, ranges, strict=True)
        )
        part = Segment(begin_step=0, end_step=interval, beat_steps=interval, exchange=exchange, assignments=shares)
        found.append((steps, part))
    return found


def _cuts(chosen: Plan, request: PlanRequest) -> Iterator[tuple[int, Exchange, tuple[Assignment, ...]]]:
    """Fine steps, exchange and shares of a plan's segments; those of one device alone as a gang would run them."""
    policy = policy_for(request.image)
    warm_end = max(policy.warmup_steps, chosen.begin_step + RESUME_WARMUP_STEPS) if policy.displaced else chosen.steps
    for segment in chosen.segments:
        begin, end = segment.begin_step, segment.end_step
        if len(chosen.agents) > 1:
            yield segment.step_count, segment.exchange, segment.assignments
            continue
        if begin < warm_end:
            yield min(end, warm_end) - begin, Exchange.SYNCHRONOUS, segment.assignments
        if end > warm_end:
            yield end - max(begin, warm_end), Exchange.DISPLACED, segment.assignments
