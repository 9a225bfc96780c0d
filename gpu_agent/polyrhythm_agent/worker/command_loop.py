"""Which thread carries out which command of a worker: the channel's thread at once, the compute thread in order.

What must not wait behind a running epoch (abort, cancel, more segments, store replies, token counts) is done on the
channel's thread.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from polyrhythm.errors import FieldViolation, InvalidArgumentError, PolyrhythmError
from polyrhythm.ids import EpochId
from polyrhythm.job.request_checks import REQUEST
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm.plan.profile import Profile
from polyrhythm.session.commands import (
    COUNTED_FIELDS,
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
from polyrhythm.session.events import AgentEvent, MemoryRead, ProfileMeasured, RequestFailed, TokensCounted
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.epoch.epoch_run import EpochRun
from polyrhythm_agent.epoch.worker_context import WorkerContext
from polyrhythm_agent.measuring.stop import MeasuringStop
from polyrhythm_agent.model_files.known_words import KnownWords
from polyrhythm_agent.ports.denoiser import LongText, ReadsLongTexts
from polyrhythm_agent.worker.rendezvous_relay import RendezvousRelay


@dataclass(frozen=True, slots=True)
class ProfileTask:
    """A profile that is asked for, until nobody waits for it any more."""

    command: MeasureProfile
    stop: MeasuringStop


ComputeTask: TypeAlias = "EpochRun | ProfileTask | ForgetJob"


class CommandLoop:
    """Takes commands from the channel's thread, runs the compute thread."""

    def __init__(
        self,
        *,
        context: WorkerContext,
        rendezvous: RendezvousRelay,
        measure: Callable[[MeasureProfile, MeasuringStop], Profile],
        tell: Callable[[AgentEvent], None],
        known_words: KnownWords | None = None,
    ) -> None:
        self._busy = False
        self._context = context
        self._rendezvous = rendezvous
        self._measure = measure
        self._tell = tell
        self._known_words = known_words
        self._tasks: queue.SimpleQueue[ComputeTask] = queue.SimpleQueue()
        self._epochs: dict[EpochId, EpochRun] = {}
        self._stops: dict[int, MeasuringStop] = {}

    def accept(self, command: AgentCommand) -> None:
        """Called on the channel's thread with every command, in order."""
        match command:
            case StartEpoch():
                run = EpochRun(command, self._context)
                self._epochs[run.epoch] = run
                self._tasks.put(run)
            case ExtendPlan() | CancelEpoch() | AbortEpoch():
                if (run := self._epochs.get(command.epoch)) is not None:
                    _change(run, command)
            case StoreReply():
                self._rendezvous.answer(command)
            case CountTokens():
                self._tell(self._answer(command))
            case MeasureProfile(request_id=request_id):
                self._stops[request_id] = MeasuringStop()
                self._tasks.put(ProfileTask(command, self._stops[request_id]))
            case StopMeasuring(request_id=request_id):
                if (stop := self._stops.get(request_id)) is not None:
                    stop.ask()
            case ForgetJob():
                self._tasks.put(command)
            case Welcome():
                pass  # the daemon's business
            case _:
                assert_never(command)

    def compute_forever(self) -> None:
        """The compute thread: epochs and measurements, one at a time."""
        while True:
            self.compute_next()

    def compute_next(self) -> None:
        """Waits for one task and carries it out; holds on to nothing of it afterwards."""
        task = self._tasks.get()
        self._busy = True
        match task:
            case EpochRun():
                task.run()
                self._epochs.pop(task.epoch, None)
            case ProfileTask(command=command):
                self._tell(self._measure_profile(task))
                if self._stops.get(command.request_id) is task.stop:  # numbers begin anew with each coordinator
                    del self._stops[command.request_id]
            case ForgetJob():
                self._context.memory.forget(task.job)
        self._busy = False

    def read_memory(self) -> MemoryRead | None:
        """How much memory there is while nothing is computed; None otherwise, since work in hand says nothing of it."""
        return None if self._busy else self._context.device_memory.read()

    def _measure_profile(self, task: ProfileTask) -> ProfileMeasured | RequestFailed:
        command = task.command
        try:
            task.stop.check()
            try:
                with model_code():
                    profile = self._measure(command, task.stop)
            finally:  # or what the clock has noted would be kept, and added up in the next picture's first step
                self._context.busy_clock.read_s()
        except PolyrhythmError as error:
            return RequestFailed(request_id=command.request_id, message=f"{type(error).__name__}: {error}")
        return ProfileMeasured(request_id=command.request_id, profile=profile)

    def _answer(self, command: CountTokens) -> TokensCounted | RequestFailed:
        try:
            with model_code():
                return self._count_tokens(command)
        except PolyrhythmError as error:
            return RequestFailed(request_id=command.request_id, message=f"{type(error).__name__}: {error}")

    def _count_tokens(self, command: CountTokens) -> TokensCounted | RequestFailed:
        denoiser = self._context.denoiser
        if command.model != denoiser.facts.name:
            return RequestFailed(request_id=command.request_id, message=f"model {command.model!r} is not loaded")
        found: list[LongText] = []
        violations: list[FieldViolation] = []
        for field, text in zip(COUNTED_FIELDS, command.texts, strict=False):
            try:
                found.append(LongText(tokens=denoiser.count_tokens(text, field)))
                if command.long_prompt is not LongPrompt.REFUSE and isinstance(denoiser, ReadsLongTexts):
                    found[-1] = denoiser.long_text(text, command.long_prompt)
            except InvalidArgumentError as error:
                violations.extend(error.violations)
        try:
            denoiser.check_steps(command.sampler, command.steps)
        except InvalidArgumentError as error:
            violations.extend(error.violations)
        if violations:
            in_request = tuple(replace(wrong, field=f"{REQUEST}.{wrong.field}") for wrong in violations)
            message = str(InvalidArgumentError(*in_request))
            return RequestFailed(request_id=command.request_id, message=message, violations=in_request)
        return TokensCounted(
            request_id=command.request_id,
            counts=tuple(each.tokens for each in found),
            notices=(*_cuts(found, denoiser.facts.token_limit), *self._notices(command.texts[:1])),
        )

    def _notices(self, prompts: Sequence[str]) -> tuple[str, ...]:
        if self._known_words is None:
            return ()
        model = self._context.denoiser.facts.name
        found = (self._known_words.notice(model, prompt) for prompt in prompts)
        return tuple(notice for notice in found if notice is not None)


def _change(run: EpochRun, command: ExtendPlan | CancelEpoch | AbortEpoch) -> None:
    match command:
        case ExtendPlan():
            run.extend(command)
        case CancelEpoch():
            run.cancel()
        case AbortEpoch(reason=reason):
            run.abort(reason)


def _cuts(found: Sequence[LongText], token_limit: int) -> Iterator[str]:
    """What the user is told of texts whose end was cut off, in the order of ``COUNTED_FIELDS``."""
    for field, text in zip(COUNTED_FIELDS, found, strict=False):
        if text.cut_off:
            yield f"{field}: cut off behind {token_limit} tokens, so the picture knows nothing of {text.cut_off!r}"
