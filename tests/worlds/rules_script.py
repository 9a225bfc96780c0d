"""Runs the daemon's rules by hand: what they see, when, and what they ask for."""

from __future__ import annotations

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.job.reports import BeatReport
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Assignment, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import AgentCommand, ExtendPlan, StartEpoch
from polyrhythm.session.events import AgentEvent, BeatDone, EpochEnded, EpochOutcome, Heartbeat, WorkerReady
from polyrhythm_agent.daemon.rules.signals import (
    CommandReceived,
    Effect,
    Note,
    OversightEvent,
    SendDown,
    SendUp,
    TimePassed,
    WorkerSpoke,
)
from polyrhythm_agent.daemon.rules.state import Limits, initial
from polyrhythm_agent.daemon.rules.transition import transition

AGENT, PEER = AgentId("a"), AgentId("b")
EPOCH = EpochId(incarnation=1, counter=7)
JOB = JobId("job")
READY = WorkerReady(models=())
LIMITS = Limits(
    start_s=20.0,
    heartbeat_s=1.0,
    abort_s=0.5,
    alone_extra_s=7.0,
    join_s=30.0,
    decode_s=40.0,
    request_s=50.0,
    proven_s=10.0,
)
STEPS = 20
STEP_TIMEOUT_S = 3.0
UNINTERRUPTIBLE_S = 5.0


class Script:
    """Runs the machine and keeps what it asked for since the last look, notes apart."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now_s = 100.0
        self.state = initial(AGENT, limits, self.now_s)
        self.effects: list[Effect] = []
        self.notes: list[str] = []

    def feed(self, *events: OversightEvent) -> Script:
        for event in events:
            self.state, effects = transition(self.state, event, self.now_s)
            self.notes += [effect.text for effect in effects if isinstance(effect, Note)]
            self.effects += [effect for effect in effects if not isinstance(effect, Note)]
        return self

    def say(self, *events: AgentEvent) -> Script:
        return self.feed(*(WorkerSpoke(event=event) for event in events))

    def command(self, *commands: AgentCommand) -> Script:
        return self.feed(*(CommandReceived(command=command) for command in commands))

    def wait(self, seconds: float, *, beating: bool = True) -> Script:
        """Time passes in ticks, as it does for a daemon that is scheduled; the worker's heart beats or does not."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = min(end_s, self.now_s + 0.1)
            if beating:
                self.say(Heartbeat(sequence=1))
            self.feed(TimePassed())
        return self

    def take(self) -> list[Effect]:
        taken, self.effects = self.effects, []
        return taken


def up(event: AgentEvent) -> SendUp:
    return SendUp(event=event)


def down(command: AgentCommand) -> SendDown:
    return SendDown(command=command)


def segment(own_rows: int, beat_steps: int = 4) -> Segment:
    return Segment(
        begin_step=0,
        end_step=STEPS,
        beat_steps=beat_steps,
        exchange=Exchange.DISPLACED,
        assignments=(
            Assignment(agent=AGENT, rows=RowRange(begin=0, end=own_rows)),
            Assignment(agent=PEER, rows=RowRange(begin=own_rows, end=16)),
        ),
    )


def start_epoch(epoch: EpochId = EPOCH, own_rows: int = 8, members: tuple[AgentId, ...] = (AGENT, PEER)) -> StartEpoch:
    image = ImageSpec(
        model="demo", prompt="p", width_px=128, height_px=128, steps=STEPS, seed=1, guidance=5.0,
        sampler=Sampler.DDIM, quality=Quality.HIGH,
    )  # fmt: skip
    return StartEpoch(
        epoch=epoch, gang=GangId("g"), members=members, job=JOB, image=image, begin_step=0, root=AGENT,
        decoder=AGENT, plan_version=1, segments=(segment(own_rows),), complete=True, step_timeout_s=STEP_TIMEOUT_S,
        uninterruptible_s=UNINTERRUPTIBLE_S, exchange_dtype="float32",
    )  # fmt: skip


def extend_plan(*segments: Segment, version: int = 1, step_timeout_s: float = STEP_TIMEOUT_S) -> ExtendPlan:
    return ExtendPlan(
        epoch=EPOCH, plan_version=version, segments=segments, complete=True, step_timeout_s=step_timeout_s,
        uninterruptible_s=UNINTERRUPTIBLE_S,
    )  # fmt: skip


def beat_done(boundary_step: int) -> BeatDone:
    return BeatDone(
        report=BeatReport(
            epoch=EPOCH, boundary_step=boundary_step, plan_version=1, active_steps=4, busy_s=1.0, wait_s=0.0,
            sent_bytes=10, wall_s=1.0, last=boundary_step == STEPS,
        )
    )  # fmt: skip


def ended(outcome: EpochOutcome = EpochOutcome.FINISHED) -> EpochEnded:
    return EpochEnded(
        epoch=EPOCH, outcome=outcome, held_boundaries=(4,), message="", gang_intact=outcome is EpochOutcome.FINISHED
    )
