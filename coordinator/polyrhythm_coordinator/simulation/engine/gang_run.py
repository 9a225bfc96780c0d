"""One epoch in virtual time: its members form the gang, run beat after beat, and decode, as workers do.

Follows docs/architecture.md: the current and the following beat are known before a beat runs, what the members hold at
a boundary decides the beat after that one, a cancel takes effect at a boundary, an abort at the next layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.picture_file import END, head_bytes
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Beat
from polyrhythm.plan.plan_versions import MISSING, PlanVersions
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    ImageMade,
    PeerLink,
    StepDone,
)
from polyrhythm.session.pace import Pace
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.simulation.engine.beat_clock import BeatClock, BeatTime, StepTime
from polyrhythm_coordinator.simulation.engine.surroundings import Memory, Surroundings
from polyrhythm_coordinator.simulation.engine.timeline import Activity, Mark, Occasion, Span


@dataclass(slots=True)
class _Member:
    plans: PlanVersions
    memory: Memory
    arrived_s: float
    cancelled: bool = False
    gone: bool = False
    pace: Pace = field(default_factory=Pace)
    pieces: list[tuple[float, float, float]] = field(default_factory=list[tuple[float, float, float]])
    """``(begin_s, end_s, piece_s)``: what it computes, in pieces that nothing interrupts."""


class GangRun:
    """One epoch.

    Args:
        command: that all members get.
        world: around it.
    """

    def __init__(self, command: StartEpoch, world: Surroundings) -> None:
        self._command = command
        self._world = world
        self._members: dict[AgentId, _Member] = {}
        self._truth = world.truth(command.image)
        self._formed_new = False
        self._broken = False
        self._vanished = ""
        """Whose connections the peers saw close."""
        self._version = command.plan_version
        self._agreed = command.plan_version
        self._beat: Beat | None = None
        self._ready_s = inf
        """Since when the next beat waits for its plan."""

    @property
    def job(self) -> JobId:
        """Whose picture."""
        return self._command.job

    @property
    def members(self) -> tuple[AgentId, ...]:
        """All that belong to it, whether they have come or not."""
        return self._command.members

    @property
    def working(self) -> frozenset[AgentId]:
        """Members that compute now."""
        shares = () if self._beat is None else self._beat.segment.assignments
        return frozenset(share.agent for share in shares if share.rows.count and not self._members[share.agent].gone)

    # --- commands ------------------------------------------------------------------------------------------------

    def start(self, agent: AgentId, command: StartEpoch, memory: Memory) -> None:
        """A member takes part; the last one to come makes the gang form."""
        plans = PlanVersions().extended(command.plan_version, command.segments, complete=command.complete)
        self._members[agent] = _Member(plans=plans, memory=memory, arrived_s=self._now_s)
        if self._vanished:
            self.leave(agent, EpochOutcome.FAILED, f"peer {self._vanished} vanished")
        elif len(self._members) == len(self.members):
            self._form()

    def extend(self, agent: AgentId, command: ExtendPlan) -> None:
        """Segments come; a beat may have waited for them."""
        member = self._members.get(agent)
        if member is None or member.gone:
            return
        member.plans = member.plans.extended(command.plan_version, command.segments, complete=command.complete)
        if self._ready_s < inf:
            self._begin_beat()

    def cancel(self, agent: AgentId) -> None:
        """A member is to stop at the next boundary."""
        if agent in self._members:
            self._members[agent].cancelled = True

    def leave(self, agent: AgentId, outcome: EpochOutcome, message: str) -> None:
        """A member stops as soon as it looks up, aborted or because a peer is gone."""
        self._broken = True
        member = self._members.get(agent)
        if member is None or member.gone:
            return
        member.gone = True
        left_s = _looks_up_s(member.pieces, self._now_s)
        self._world.timeline.cut(left_s, agent)
        self._world.agenda.at(left_s, partial(self._end, agent, outcome, message))

    def lose(self, agent: AgentId, *, noticed: bool) -> None:
        """A member dies; its peers see the connection close where it is noticed."""
        self._broken = True
        if agent in self._members and not self._members[agent].gone:
            self._members[agent].gone = True
            self._world.timeline.cut(self._now_s, agent)
        if noticed:
            self._vanished = agent
            for peer in self.members:
                if peer != agent:
                    self.leave(peer, EpochOutcome.FAILED, f"peer {agent} vanished")

    # --- forming ---------------------------------------------------------------------------------------------------

    def _form(self) -> None:
        command = self._command
        forming_s = self._world.form_gang_s(command.gang, command.members)
        self._formed_new = forming_s > 0
        root = self._members[command.root]
        encode_s = 0.0 if root.memory.encoded else self._truth.profile(command.root).encode_s
        begin_s = self._now_s + forming_s
        encoded_s = self._compute(command.root, Activity.ENCODE, begin_s, encode_s)
        joined_s = max(
            (encoded_s + self._state_s(peer) for peer in command.members if peer != command.root), default=encoded_s
        )
        for agent, member in self._members.items():
            until_s = begin_s if agent == command.root else joined_s
            self._wait(agent, member.arrived_s, until_s)
        self._world.agenda.at(joined_s, partial(self._joined, encoded_s - begin_s))

    def _state_s(self, peer: AgentId) -> float:
        """Seconds in which the root's state reaches a member; embeddings are small beside it and count as none."""
        link = self._truth.link(self._command.root, peer)
        whole = RowRange(begin=0, end=self._truth.row_count)
        return link.transfer_s(self._truth.boundary_bytes(whole) if self._command.begin_step else 0)

    def _joined(self, encode_s: float) -> None:
        if self._broken:
            return
        for agent, member in self._members.items():
            member.memory.encoded = True
            if self._command.begin_step:
                member.memory.keep(self._command.begin_step)
            links: tuple[PeerLink, ...] = ()
            if self._formed_new:
                peers = (peer for peer in self.members if peer != agent)
                links = tuple(PeerLink(peer=peer, link=self._truth.link(agent, peer)) for peer in peers)
            own_s = encode_s if agent == self._command.root else 0.0
            self._world.say(agent, EpochJoined(epoch=self._command.epoch, encode_s=own_s, links=links))
        self._ready_s = self._now_s
        self._begin_beat()

    # --- beats -----------------------------------------------------------------------------------------------------

    def _begin_beat(self) -> None:
        """Runs the next beat, if every member knows it and the one after it; else the next segment will call again."""
        known = [self._known_beats(member) for member in self._members.values()]
        if any(beats is None for beats in known):
            return
        (beat, following, version), *_ = [beats for beats in known if beats is not None]
        ready_s, self._ready_s = self._ready_s, inf
        for agent in self.members:
            self._wait(agent, ready_s, self._now_s)
        self._beat = beat
        time = BeatClock(
            beat, following, request=self._truth_in_company(), paces=self._world.paces(), begin_s=self._now_s
        ).run()
        for agent, steps in time.steps.items():
            self._note_steps(agent, beat, steps, time.boundary_s)
            for step in steps[:-1]:
                done = StepDone(epoch=self._command.epoch, step=step.step + beat.segment.of(agent).stride)
                self._world.agenda.at(step.end_s, partial(self._tell, agent, done))
        self._world.agenda.at(time.boundary_s, partial(self._boundary, beat, following, version, time))

    def _truth_in_company(self) -> PlanRequest:
        """The truth beside whoever makes other pictures on the same hosts; for a whole beat, as it is at its begin."""
        truth = self._truth
        others = self._world.working_beside(self._command.epoch).difference(self.members)
        hosts = {truth.profile(agent).host for agent in others} - {""}
        if not hosts:
            return truth
        profiles = (replace(profile, in_company=profile.host in hosts) for profile in truth.profiles)
        return replace(truth, profiles=tuple(profiles))

    def _known_beats(self, member: _Member) -> tuple[Beat, Beat | None, int] | None:
        """The beat to run, the one after it, and that one's plan version; None while a segment is missing."""
        beat = self._beat
        if beat is None:
            first, _ = member.plans.beat_at(
                self._command.begin_step, version=self._version, current_version=self._version
            )
            if first is MISSING or first is None:
                return None
            beat = first
        following, version = member.plans.beat_at(beat.end_step, version=self._agreed, current_version=self._version)
        return None if following is MISSING else (beat, following, version)

    def _boundary(self, beat: Beat, following: Beat | None, version: int, time: BeatTime) -> None:
        if self._broken:
            return
        for agent, member in self._members.items():
            member.memory.keep(beat.end_step)
            member.pieces.clear()
            report = self._report(agent, time, beat, last=following is None)
            self._world.say(agent, BeatDone(report=report))
        self._agreed = max(self._agreed, min(member.plans.newest for member in self._members.values()))
        if any(member.cancelled for member in self._members.values()):
            for agent in self.members:
                self._end(agent, EpochOutcome.CANCELLED, f"stopped at step {beat.end_step}")
        elif following is None:
            self._finish()
        else:
            if version != self._version:
                told = f"plan {version} takes over at step {following.begin_step}"
                self._world.timeline.mark(Mark(at_s=self._now_s, occasion=Occasion.TAKEOVER, text=told))
            self._version, self._beat = version, following
            self._ready_s = self._now_s
            self._begin_beat()

    def _report(self, agent: AgentId, time: BeatTime, beat: Beat, *, last: bool) -> BeatReport:
        steps = time.steps[agent]
        busy_s = sum(step.busy_s for step in steps)
        worked_s = busy_s + sum(step.overhead_s for step in steps)
        wall_s = time.boundary_s - time.begin_s
        step_s = tuple(step.busy_s + step.overhead_s for step in steps)
        member = self._members[agent]
        member.pace = member.pace.after(beat.segment.of(agent).rows.count, step_s)
        return BeatReport(
            epoch=self._command.epoch,
            boundary_step=beat.end_step,
            plan_version=self._version,
            active_steps=len(steps),
            busy_s=busy_s,
            wait_s=max(0.0, wall_s - worked_s),
            sent_bytes=time.sent_bytes[agent],
            wall_s=wall_s,
            last=last,
            step_s=step_s,
            changed=bool(step_s) and member.pace.changed,
        )

    def _finish(self) -> None:
        decoder = self._command.decoder
        begin_s = self._now_s
        decoded_s = self._compute(decoder, Activity.DECODE, begin_s, self._truth.profile(decoder).decode_s)
        for agent in self.members:
            if agent != decoder:
                self._end(agent, EpochOutcome.FINISHED, "")
        self._world.agenda.at(decoded_s, partial(self._decoded, decoded_s - begin_s))

    def _decoded(self, decode_s: float) -> None:
        decoder, epoch = self._command.decoder, self._command.epoch
        if self._members[decoder].gone:
            return
        image = self._command.image
        file = head_bytes(image.width_px, image.height_px) + END  # no pixels: nobody decodes it
        made = ImageMade(epoch=epoch, offset=0, data=file, last=True, decode_s=decode_s)
        self._world.say(decoder, made)
        self._end(decoder, EpochOutcome.FINISHED, "")

    def _end(self, agent: AgentId, outcome: EpochOutcome, message: str) -> None:
        member = self._members[agent]
        member.gone = True
        ended = EpochEnded(
            epoch=self._command.epoch,
            outcome=outcome,
            held_boundaries=member.memory.boundaries,
            message=message,
            gang_intact=outcome in {EpochOutcome.FINISHED, EpochOutcome.CANCELLED},
        )
        self._world.say(agent, ended)

    # --- pieces ----------------------------------------------------------------------------------------------------

    @property
    def _now_s(self) -> float:
        return self._world.agenda.now_s

    def _tell(self, agent: AgentId, event: AgentEvent) -> None:
        if not self._members[agent].gone:
            self._world.say(agent, event)

    def _compute(self, agent: AgentId, activity: Activity, begin_s: float, work_s: float) -> float:
        """One piece that nothing interrupts; returns when it is done."""
        end_s = self._world.paces()[agent].course.finish_s(begin_s, work_s)
        self._members[agent].pieces.append((begin_s, end_s, work_s))
        self._world.timeline.add(Span(agent=agent, activity=activity, begin_s=begin_s, end_s=end_s))
        return end_s

    def _wait(self, agent: AgentId, begin_s: float, end_s: float, segment: int = -1) -> None:
        self._world.timeline.add(
            Span(agent=agent, activity=Activity.WAIT, begin_s=begin_s, end_s=end_s, segment=segment)
        )

    def _note_steps(self, agent: AgentId, beat: Beat, steps: tuple[StepTime, ...], boundary_s: float) -> None:
        """Computing and waiting of a beat. The waits within a step, layer by layer, are drawn as one at its end."""
        share = beat.segment.of(agent)
        idle_since_s = self._now_s
        for step in steps:
            worked_s = min(step.begin_s + step.busy_s + step.overhead_s, step.end_s)
            computing = Span(
                agent=agent,
                activity=Activity.COMPUTE,
                begin_s=step.begin_s,
                end_s=worked_s,
                step=step.step,
                rows=(share.rows.begin, share.rows.end),
                stride=share.stride,
                segment=beat.segment.begin_step,
            )
            self._world.timeline.add(computing)
            self._wait(agent, worked_s, step.end_s, segment=beat.segment.begin_step)
            layer_s = (step.busy_s + step.overhead_s) / self._truth.facts.layers
            self._members[agent].pieces.append((step.begin_s, worked_s, layer_s))
            idle_since_s = step.end_s
        self._wait(agent, idle_since_s, boundary_s, segment=beat.segment.begin_step)


def _looks_up_s(pieces: list[tuple[float, float, float]], now_s: float) -> float:
    """When a worker notices that it is to stop: after the piece that it computes, at once where it waits."""
    ends = [min(end_s, now_s + piece_s) for begin_s, end_s, piece_s in pieces if begin_s <= now_s < end_s]
    return min((end_s for end_s in ends if end_s < inf), default=now_s)
