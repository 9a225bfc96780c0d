"""A worker without torch: takes the agent protocol's commands, gives its events, in lockstep with its gang.

It computes nothing and knows no time: ``work`` does the next piece, whenever it is called. What it shares with the
other members of an epoch (who has joined, who has reached which boundary, who cancels) is in one ``FakeFabric``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import assert_never

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.reports import BeatReport
from polyrhythm.model.facts import DeviceFacts, DeviceKind, ModelFacts, SoftwareVersion
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.session.commands import (
    AbortEpoch,
    AgentCommand,
    CancelEpoch,
    CountTokens,
    ExtendPlan,
    ForgetJob,
    MeasureProfile,
    StartEpoch,
    StopMeasuring,
    Welcome,
)
from polyrhythm.session.events import (
    PROTOCOL_VERSION,
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    ImageMade,
    PeerLink,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    WorkerReady,
)
from polyrhythm.session.pace import Pace
from polyrhythm.session.rendezvous import StoreReply
from tests.fakes.fabric import EpochRun, FakeFabric, Meeting, PlanVersion
from tests.fakes.model import FACTS, answer_about_texts, png_of

SOFTWARE = (SoftwareVersion(name="polyrhythm", version="0.1.0"), SoftwareVersion(name="torch", version="2.13.0"))
PART_BYTES = 17


def register(agent: AgentId, *, protocol_version: int = PROTOCOL_VERSION, host: str = "") -> Register:
    """How a fake agent introduces itself; without the name of a host it has one of its own."""
    return Register(
        agent=agent,
        protocol_version=protocol_version,
        software=SOFTWARE,
        device=DeviceFacts(
            uuid=f"FAKE-{agent}",
            name=f"fake device of {agent}",
            kind=DeviceKind.CUDA,
            memory_total_bytes=1 << 30,
            memory_free_bytes=1 << 30,
            emulated_speed=0.5,
            kernel=host,
        ),
    )


class FakeWorker:
    """One worker.

    Attributes:
        moves: pieces of work done; work that has to wait does not count.
        stalls: how often it had to wait for a segment.
        pause_at: it does not go on from this step until the value is changed.
        hung: it takes everything in and does nothing.
        measures_slowly: it measures for ever, unless it is told to stop or the value is changed.
        contention: how many times as long a forward takes while the others of its host measure.
        mute: it answers no request about tokens and profiles.
        encode_s: what it measures for encoding.
        decode_s: what it measures for decoding.
        fail_at: its epoch fails at this step.
        no_picture: whether it fails there because what it has made is no picture.
        rows_max: its memory runs out at a step for which it holds more rows; None for never.
        slowdown: how many times as long as measured a step takes it now.
        hiccup: how many times as long its next step takes, and no other; 0 for none.
        seen: all commands, in order.
        pictures: how many it has decoded.
        padding_bytes: by which their files are longer than they need be.
        part_bytes: of their parts.
    """

    def __init__(
        self,
        agent: AgentId,
        fabric: FakeFabric,
        *,
        per_row_s: float = 0.01,
        facts: Sequence[ModelFacts] = (FACTS,),
    ) -> None:
        self.agent = agent
        self.facts = tuple(facts)
        self.moves = 0
        self.stalls = 0
        self.pause_at: int | None = None
        self.hung = False
        self.mute = False
        self.measures_slowly = False
        self.contention = 1.0
        self.encode_s = 0.01
        self.decode_s = 0.02
        self.fail_at: int | None = None
        self.no_picture = False
        self.rows_max: int | None = None
        self.slowdown = 1.0
        self.hiccup = 0.0
        self.seen: list[AgentCommand] = []
        self.pictures = 0
        self.padding_bytes = 0
        self.part_bytes = PART_BYTES
        self._fabric = fabric
        self._per_row_s = per_row_s
        self._tasks: deque[EpochRun | MeasureProfile | ForgetJob] = deque()
        self._runs: dict[EpochId, EpochRun] = {}
        self._held: dict[JobId, list[int]] = {}
        self._paces: dict[EpochId, Pace] = {}

    def ready(self) -> WorkerReady:
        """What it says once it has loaded."""
        return WorkerReady(models=self.facts)

    def handle(  # noqa: C901, PLR0912 - one case a command
        self, command: AgentCommand
    ) -> list[AgentEvent]:
        """Takes a command; answers at once what a worker answers on its channel's thread."""
        self.seen.append(command)
        match command:
            case StartEpoch():
                first = PlanVersion(list(command.segments), command.complete)
                version = command.plan_version
                run = EpochRun(command, {version: first}, version, version, command.begin_step)
                self._runs[command.epoch] = run
                self._tasks.append(run)
                self._fabric.meeting(command)
            case ExtendPlan():
                if (run := self._runs.get(command.epoch)) is not None:
                    run.extend(command)
            case CancelEpoch():
                if (run := self._runs.get(command.epoch)) is not None:
                    run.cancelled = True
            case AbortEpoch():
                if (run := self._runs.get(command.epoch)) is not None:
                    run.aborted = command.reason
            case CountTokens():
                if self.hung or self.mute:
                    return []
                return [answer_about_texts(command)]
            case MeasureProfile() | ForgetJob():
                self._tasks.append(command)
            case StopMeasuring(request_id=request_id):
                return self._stop_measuring(request_id)
            case StoreReply() | Welcome():
                pass
            case _:
                assert_never(command)
        return []

    def work(self) -> list[AgentEvent]:
        """Does the next piece of what is to be done; nothing if it has to wait."""
        if self.hung or not self._tasks:
            return []
        match task := self._tasks[0]:
            case MeasureProfile():
                if self.measures_slowly:
                    return []
                self.moves += 1
                self._tasks.popleft()
                return [] if self.mute else [self.measure(task)]
            case ForgetJob():
                self.moves += 1
                self._tasks.popleft()
                self._held.pop(task.job, None)
                return []
            case EpochRun():
                return self._go_on(task)

    def _stop_measuring(self, request_id: int) -> list[AgentEvent]:
        for task in self._tasks:
            if isinstance(task, MeasureProfile) and task.request_id == request_id:
                self._tasks.remove(task)
                return [RequestFailed(request_id=request_id, message="nobody waits for it")]
        return []

    def measure(self, command: MeasureProfile) -> ProfileMeasured | RequestFailed:
        """Its answer, at once."""
        if self.fail_at == 0:
            return RequestFailed(request_id=command.request_id, message="out of memory")
        profile = Profile(
            agent=self.agent,
            workload=command.workload,
            fixed_s=0.0,
            per_row_s=self._per_row_s * (self.contention if command.together else 1.0),
            encode_s=0.0 if command.together else self.encode_s,
            decode_s=0.0 if command.together else self.decode_s,
            samples=3,
        )
        return ProfileMeasured(request_id=command.request_id, profile=profile)

    def _go_on(self, run: EpochRun) -> list[AgentEvent]:  # noqa: PLR0911 - one return a phase of an epoch
        meeting = self._fabric.meetings[run.command.epoch]
        if run.aborted is not None:
            return [self._end(run, EpochOutcome.ABORTED, run.aborted)]
        if meeting.broken is not None:
            return [self._end(run, EpochOutcome.FAILED, meeting.broken)]
        if not run.joined:
            return self._join(run, meeting)
        if run.arrived:
            return self._meet(run, meeting)
        if self.fail_at is not None and run.step >= self.fail_at:
            meeting.broken = f"{self.agent} failed"
            return [self._end(run, EpochOutcome.FAILED, "not a number", no_picture=self.no_picture)]
        if self._is_short(run):
            meeting.broken = f"{self.agent} failed"
            return [self._end(run, EpochOutcome.FAILED, "OutOfMemoryError: too many rows", out_of_memory=True)]
        if self.pause_at is not None and run.step >= self.pause_at and not run.cancelled:
            return []
        if run.step == run.command.image.steps:
            return self._finish(run)
        return self._compute(run, meeting)

    def _is_short(self, run: EpochRun) -> bool:
        beat = run.versions[run.version].beat(run.step)
        return beat is not None and self.rows_max is not None and beat.segment.of(self.agent).rows.count > self.rows_max

    def _join(self, run: EpochRun, meeting: Meeting) -> list[AgentEvent]:
        if self.agent not in meeting.joined:
            self.moves += 1
            meeting.joined.add(self.agent)
            return []
        if meeting.joined != set(meeting.members):
            return []
        self.moves += 1
        run.joined = True
        if run.step:
            self._remember(run.command.job, run.step)
        cost = Link(latency_s=1e-4, bytes_per_s=1e9)
        links = tuple(PeerLink(peer=peer, link=cost) for peer in meeting.members if peer != self.agent)
        encode_s = 0.01 if run.command.root == self.agent else 0.0
        return [EpochJoined(epoch=run.command.epoch, encode_s=encode_s, links=links)]

    def _compute(self, run: EpochRun, meeting: Meeting) -> list[AgentEvent]:
        """One beat, up to its boundary; the one after it must be known, since it decides what is sent in this one."""
        beat = run.versions[run.version].beat(run.step)
        last = beat is not None and beat.end_step == run.command.image.steps
        run.following_version = run.version_at(beat.end_step) if beat is not None else run.version
        if beat is None or not (last or run.versions[run.following_version].beat(beat.end_step)):
            self.stalls += 1
            return []
        self.moves += 1
        run.beat = beat
        run.step = beat.end_step
        run.arrived = True
        meeting.arrived[self.agent] = beat.end_step
        meeting.cancels[self.agent, beat.end_step] = run.cancelled
        meeting.newest[self.agent, beat.end_step] = max(run.versions)
        active = beat.active_steps(self.agent)
        stride = beat.segment.of(self.agent).stride
        return [StepDone(epoch=run.command.epoch, step=step + stride) for step in active[:-1]]

    def _meet(self, run: EpochRun, meeting: Meeting) -> list[AgentEvent]:
        """The boundary: passed once all are there."""
        if any(meeting.arrived.get(member, 0) < run.step for member in meeting.members):
            return []
        assert run.beat is not None
        self.moves += 1
        run.arrived = False
        if self.agent == meeting.members[0]:
            self._fabric.follow(run.command, run.beat)
        self._remember(run.command.job, run.step)
        active = len(run.beat.active_steps(self.agent))
        busy_s = active * self._per_row_s * run.beat.segment.of(self.agent).rows.count
        step_s = [busy_s / active * self.slowdown for _ in range(active)]
        if self.hiccup and step_s:
            step_s[0] *= self.hiccup
            self.hiccup = 0.0
        rows = run.beat.segment.of(self.agent).rows.count
        pace = self._paces[run.command.epoch] = self._paces.get(run.command.epoch, Pace()).after(rows, step_s)
        report = BeatReport(
            epoch=run.command.epoch,
            boundary_step=run.step,
            plan_version=run.version,
            active_steps=active,
            busy_s=busy_s,
            wait_s=0.001,
            sent_bytes=100,
            wall_s=sum(step_s) + 0.001,
            last=run.step == run.command.image.steps,
            step_s=tuple(step_s),
            changed=bool(step_s) and pace.changed,
        )
        run.agreed = max(run.agreed, min(meeting.newest[member, run.step] for member in meeting.members))
        run.version = run.following_version
        events: list[AgentEvent] = [BeatDone(report=report)]
        if any(meeting.cancels[member, run.step] for member in meeting.members):
            events.append(self._end(run, EpochOutcome.CANCELLED, ""))
        return events

    def _finish(self, run: EpochRun) -> list[AgentEvent]:
        events: list[AgentEvent] = []
        if run.command.decoder == self.agent:
            self.pictures += 1
            image = run.command.image
            png = png_of(image.width_px, image.height_px, padding_bytes=self.padding_bytes)
            for offset in range(0, len(png), self.part_bytes):
                data = png[offset : offset + self.part_bytes]
                last = offset + len(data) == len(png)
                events.append(
                    ImageMade(epoch=run.command.epoch, offset=offset, data=data, last=last, decode_s=0.02 * last)
                )
        return [*events, self._end(run, EpochOutcome.FINISHED, "")]

    def _end(
        self,
        run: EpochRun,
        outcome: EpochOutcome,
        message: str,
        *,
        out_of_memory: bool = False,
        no_picture: bool = False,
    ) -> EpochEnded:
        self.moves += 1
        self._tasks.popleft()
        del self._runs[run.command.epoch]
        return EpochEnded(
            epoch=run.command.epoch,
            outcome=outcome,
            held_boundaries=tuple(self._held.get(run.command.job, ())),
            message=message,
            gang_intact=outcome in {EpochOutcome.FINISHED, EpochOutcome.CANCELLED},
            out_of_memory=out_of_memory,
            no_picture=no_picture,
        )

    def _remember(self, job: JobId, step: int) -> None:
        held = [other for other in self._held.get(job, []) if other < step]
        self._held[job] = [*held, step][-2:]
