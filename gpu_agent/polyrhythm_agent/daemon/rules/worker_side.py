"""What the worker's events, and its end, mean for the coordinator."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias, assert_never

from polyrhythm.ids import EpochId
from polyrhythm.session.events import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    Heartbeat,
    ImageMade,
    MemoryRead,
    PartLoaded,
    PreviewMade,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm.session.rendezvous import StoreRequest
from polyrhythm_agent.daemon.backoff import doubling_delay_s
from polyrhythm_agent.daemon.rules.signals import (
    Effect,
    GiveUpModel,
    GiveUpStarting,
    KillWorker,
    Note,
    SendUp,
    WorkerEnded,
)
from polyrhythm_agent.daemon.rules.state import Absent, DaemonState, Ending, Outcome, Ready, Stage, Starting, Unusable

Answer: TypeAlias = ProfileMeasured | TokensCounted | RequestFailed
Progress: TypeAlias = EpochJoined | PartLoaded | StepDone | BeatDone | PreviewMade | ImageMade


def hear(state: DaemonState, event: AgentEvent, now_s: float) -> Outcome:
    """Relays what a worker says, and takes it as a sign of life."""
    phase = state.phase
    match phase:
        case Absent() | Ending() | Unusable():
            return state, ()  # last words of a worker that was given up
        case Starting():
            if isinstance(event, WorkerLost):
                return _give_up_model(state, event.reason, now_s)
            if isinstance(event, Heartbeat):
                return replace(state, phase=replace(phase, heard_s=now_s)), ()
            if not isinstance(event, WorkerReady):
                return state, ()
            ready = Ready(since_s=now_s, heard_s=now_s, announcement=event)
            return replace(state, phase=ready, failed_starts=0), (Note(text="the worker is ready", alarming=False),)
        case Ready():
            return _hear_ready(replace(state, phase=replace(phase, heard_s=now_s)), event, now_s)
        case _:
            assert_never(phase)


def _hear_ready(  # noqa: PLR0911 - one return an event
    state: DaemonState, event: AgentEvent, now_s: float
) -> Outcome:
    match event:
        case Heartbeat():
            return state, ()
        case Register() | WorkerReady() | WorkerLost():
            return give_up(state, f"the worker broke the protocol: it sent {type(event).__name__}", now_s)
        case ProfileMeasured() | TokensCounted() | RequestFailed():
            return _answer(state, event)
        case StoreRequest():
            return state, () if state.run is not None and state.run.orphaned else _up(state, event)
        case EpochJoined() | PartLoaded() | StepDone() | PreviewMade() | ImageMade():
            return _progress(state, event, event.epoch, now_s)
        case BeatDone(report=report):
            return _progress(state, event, report.epoch, now_s)
        case EpochEnded():
            return _end_run(state, event, now_s)
        case MemoryRead():
            return state, _up(state, event) if state.announced else ()
        case _:
            assert_never(event)


def bury(state: DaemonState, end: WorkerEnded, now_s: float) -> Outcome:
    """The process is gone: by itself, which is told now, or because it was killed, which was told then.

    One that cannot load its model is the last one: the next would say the same.
    """
    if isinstance(state.phase, Absent | Unusable):
        return state, ()
    effects: tuple[Effect, ...] = ()
    if isinstance(state.phase, Starting) and end.cannot_load:
        return _give_up_model(state, "its own words are above", now_s)
    if not isinstance(state.phase, Ending):
        state, effects = _count_loss(state, f"the worker ended: {end.message}", now_s)
    limits = state.limits
    if limits.starts_max is not None and state.failed_starts >= limits.starts_max:
        reason = f"{state.failed_starts} workers in a row were lost before they were ready; the last one: {state.lost}"
        return replace(state, phase=Unusable()), (*effects, GiveUpStarting(reason=reason))
    delay_s = doubling_delay_s(state.failures - 1, first_s=limits.first_restart_s, longest_s=limits.longest_restart_s)
    return replace(state, phase=Absent(restart_at_s=now_s + delay_s)), effects


def give_up(state: DaemonState, reason: str, now_s: float) -> Outcome:
    """Kills the worker and says so at once; another is started when it is gone."""
    state, effects = _count_loss(state, reason, now_s)
    return replace(state, phase=Ending()), (KillWorker(), *effects)


def _give_up_model(state: DaemonState, words: str, now_s: float) -> Outcome:
    reason = f"the worker cannot load the model: {words}"
    state, effects = _count_loss(state, reason, now_s)
    return replace(state, phase=Unusable()), (*effects, KillWorker(), GiveUpModel(reason=reason))


def _progress(state: DaemonState, event: Progress, epoch: EpochId, now_s: float) -> Outcome:
    run = state.run
    if run is None or run.epoch != epoch:
        return state, (Note(text=f"{type(event).__name__} of epoch {epoch}, which is not under way, was dropped"),)
    stage = run.stage
    if isinstance(event, EpochJoined):
        stage = Stage.STEPPING
    elif isinstance(event, BeatDone) and event.report.last:
        stage = Stage.DECODING
    state = replace(state, run=replace(run, stage=stage, progress_s=now_s))
    return state, () if run.orphaned else _up(state, event)


def _end_run(state: DaemonState, event: EpochEnded, now_s: float) -> Outcome:
    run = state.run
    if run is None or run.epoch != event.epoch:
        return state, (Note(text=f"the end of epoch {event.epoch}, which is not under way, was dropped"),)
    effects = () if run.orphaned else _up(state, event)
    proven = state.proven or event.outcome is EpochOutcome.FINISHED
    # What was asked meanwhile had to wait for the epoch; its time begins now.
    questions = tuple(replace(question, asked_s=now_s) for question in state.questions)
    return replace(state, run=None, proven=proven, questions=questions), effects


def _answer(state: DaemonState, event: Answer) -> Outcome:
    """Relays an answer to whoever asked; to nobody, if that session has ended."""
    asked = next((question for question in state.questions if question.request_id == event.request_id), None)
    if asked is None:
        return state, (Note(text=f"an answer to request {event.request_id}, which nobody asked, was dropped"),)
    questions = tuple(question for question in state.questions if question is not asked)
    return replace(state, questions=questions), () if asked.orphaned else _up(state, event)


def _count_loss(state: DaemonState, reason: str, now_s: float) -> Outcome:
    phase = state.phase
    lived = isinstance(phase, Ready) and now_s - phase.since_s >= state.limits.proven_s
    lost = replace(
        state,
        announced=False,
        run=None,
        questions=(),
        failures=1 if state.proven or lived else state.failures + 1,
        failed_starts=state.failed_starts + isinstance(phase, Starting),
        lost=reason,
        proven=False,
        jobs=(),
        stale_jobs=(),
    )
    return lost, (Note(text=reason), *_up(state, WorkerLost(reason=reason)))


def _up(state: DaemonState, event: AgentEvent) -> tuple[Effect, ...]:
    """To the coordinator, if there is one; the next one is told anew that the worker is ready."""
    return (SendUp(event=event),) if state.connected else ()
