"""What a daemon remembers of its worker, its session and the epoch under way. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.process.patient_clock import PatientClock
from polyrhythm.session.events import WorkerReady
from polyrhythm_agent.daemon.rules.signals import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a daemon waits for what.

    Attributes:
        start_s: for a worker to load its model, or to get further with a checkpoint that it converts first.
        heartbeat_s: for a sign of life of a ready worker.
        abort_s: for a worker to leave an epoch that is aborted, beside what it cannot interrupt.
        alone_extra_s: more of that for an epoch of one member: nobody waits for it, and all that it has made is lost
            with its worker.
        abort_slack: how many times its prediction a step, an encoding or a decoding that is under way may take.
        join_s: for a gang to form and the prompt to be encoded.
        decode_s: for the picture after the last step.
        request_s: for an answer to a profile or a token count.
        leave_s: for a process to end once it has closed its channel; torch takes seconds to come down.
        proven_s: a worker that lived so long, or finished an epoch, restarts without delay.
        first_restart_s: delay of the second restart in a row; the first has none.
        longest_restart_s: bound of that delay.
        starts_max: workers lost in a row before they were ready, after which none is started any more; None for ever.
        unseen_s: between two events, as far as it counts: any longer, and the daemon itself was not scheduled.
    """

    start_s: float = 120.0
    heartbeat_s: float = 1.0
    abort_s: float = 1.5
    alone_extra_s: float = 10.0
    abort_slack: float = 2.0
    join_s: float = 120.0
    decode_s: float = 120.0
    request_s: float = 120.0
    leave_s: float = 10.0
    proven_s: float = 10.0
    first_restart_s: float = 0.5
    longest_restart_s: float = 30.0
    starts_max: int | None = None
    unseen_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """No worker process; one is started at that time."""

    restart_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """The worker loads its model.

    Attributes:
        heard_s: when it was started, or last said that it gets on.
    """

    heard_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker takes commands.

    Attributes:
        since_s: when it said so.
        heard_s: when it last said anything.
        announcement: what each coordinator is told.
    """

    since_s: float
    heard_s: float
    announcement: WorkerReady


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """No worker can load the model, or too many ended before they were ready; none is started any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The worker was killed; its end is awaited."""


WorkerPhase: TypeAlias = Absent | Starting | Ready | Ending | Unusable


class Stage(StrEnum):
    """What a worker is at in an epoch."""

    JOINING = "joining the gang"
    STEPPING = "stepping"
    DECODING = "decoding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The epoch that the worker is in.

    Attributes:
        epoch: which.
        stage: what it is at.
        alone: whether it has no other member.
        step_timeout_s: longest of all plan versions.
        uninterruptible_s: longest of all plan versions.
        step_limit_s: longest time between two signs of progress while stepping.
        progress_s: when the last one came.
        leave_by_s: when the worker must have left, once it was told to; None before.
        orphaned: whether the session that started it has ended, so that nobody wants to hear of it.
    """

    epoch: EpochId
    stage: Stage
    alone: bool
    step_timeout_s: float
    uninterruptible_s: float
    step_limit_s: float
    progress_s: float
    leave_by_s: float | None = None
    orphaned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A profile or a token count that the worker was asked for.

    Attributes:
        request_id: of the request.
        asked_s: when.
        orphaned: whether the session that asked has ended.
    """

    request_id: int
    asked_s: float
    orphaned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """Everything a daemon remembers.

    Attributes:
        agent: whose daemon.
        limits: deadlines.
        connected: whether a coordinator listens.
        announced: whether it was told that the worker is ready.
        phase: of the worker process.
        run: the epoch under way.
        questions: requests without an answer, oldest first.
        failures: losses in a row, for the delay of the next restart.
        failed_starts: losses in a row of workers that never were ready.
        lost: how the last worker was lost; empty where none was.
        proven: whether this worker has finished an epoch.
        jobs: jobs that the worker may hold memory of.
        stale_jobs: those of a session that has ended; forgotten as soon as the worker is idle.
        clock: by which deadlines are counted; the daemon is seen to run with every event.
    """

    agent: AgentId
    limits: Limits
    connected: bool = False
    announced: bool = False
    phase: WorkerPhase
    run: Run | None = None
    questions: tuple[Question, ...] = ()
    failures: int = 0
    failed_starts: int = 0
    lost: str = ""
    proven: bool = False
    jobs: tuple[JobId, ...] = ()
    stale_jobs: tuple[JobId, ...] = ()
    clock: PatientClock

    @property
    def idle(self) -> bool:
        """Whether the worker is ready and owes nobody anything."""
        return isinstance(self.phase, Ready) and self.run is None and not self.questions


Outcome: TypeAlias = tuple[DaemonState, tuple[Effect, ...]]


def initial(agent: AgentId, limits: Limits, now_s: float) -> DaemonState:
    """A daemon that has just started: no coordinator, no worker, and one to be started at once."""
    return DaemonState(agent=agent, limits=limits, phase=Absent(restart_at_s=now_s), clock=PatientClock(seen_s=now_s))
