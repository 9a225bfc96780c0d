"""Scripts of what a daemon sees, and what it must do: no process, no socket, no clock."""

from __future__ import annotations

import pytest

from polyrhythm.facts import DeviceFacts, DeviceKind
from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.image import ImageSpec, Quality, Sampler
from polyrhythm.messages import (
    AbortEpoch,
    AgentCommand,
    AgentEvent,
    BeatDone,
    CancelEpoch,
    CountTokens,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    ExtendPlan,
    ForgetJob,
    Heartbeat,
    MemoryRead,
    Register,
    RequestFailed,
    StartEpoch,
    StepDone,
    StoreOperation,
    StoreReply,
    StoreRequest,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm.plan import Assignment, Exchange, Segment
from polyrhythm.reports import BeatReport
from polyrhythm.rows import RowRange
from polyrhythm_agent.oversight.signals import (
    CommandReceived,
    CoordinatorConnected,
    CoordinatorLost,
    Effect,
    GiveUpModel,
    KillWorker,
    Note,
    OversightEvent,
    SendDown,
    SendUp,
    StartWorker,
    TimePassed,
    WorkerEnded,
    WorkerSpoke,
)
from polyrhythm_agent.oversight.state import Absent, Limits, initial
from polyrhythm_agent.oversight.transition import transition

AGENT, PEER = AgentId("a"), AgentId("b")
EPOCH = EpochId(incarnation=1, counter=7)
JOB = JobId("job")
READY = WorkerReady(models=())
LIMITS = Limits(start_s=20.0, heartbeat_s=1.0, abort_s=0.5, join_s=30.0, decode_s=40.0, request_s=50.0, proven_s=10.0)
STEPS = 20
STEP_TIMEOUT_S = 3.0
UNINTERRUPTIBLE_S = 5.0


class Script:
    """Runs the machine and keeps what it asked for since the last look, notes apart."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.state = initial(AGENT, LIMITS, self.now_s)
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


def start_epoch(epoch: EpochId = EPOCH, own_rows: int = 8) -> StartEpoch:
    image = ImageSpec(
        model="demo", prompt="p", width_px=128, height_px=128, steps=STEPS, seed=1, guidance=5.0,
        sampler=Sampler.DDIM, quality=Quality.HIGH,
    )  # fmt: skip
    return StartEpoch(
        epoch=epoch, gang=GangId("g"), members=(AGENT, PEER), job=JOB, image=image, begin_step=0, root=AGENT,
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
        epoch=EPOCH, outcome=outcome, held_boundaries=(4,), detail="", gang_intact=outcome is EpochOutcome.FINISHED
    )


@pytest.fixture
def script() -> Script:
    """A daemon with a coordinator and a ready worker."""
    made = Script().feed(TimePassed(), CoordinatorConnected()).say(READY)
    made.take()
    made.notes.clear()
    return made


@pytest.fixture
def running(script: Script) -> Script:
    """One whose worker steps."""
    script.command(start_epoch()).say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    script.take()
    return script


# --- start and announcement --------------------------------------------------------------------------------------


def test_a_worker_is_started_at_once_and_announced_when_ready() -> None:
    script = Script().feed(TimePassed())
    assert script.take() == [StartWorker()]
    assert script.feed(CoordinatorConnected()).take() == []
    assert script.say(READY).take() == [up(READY)]


def test_a_worker_that_was_ready_first_is_announced_to_the_coordinator_that_comes() -> None:
    script = Script().feed(TimePassed()).say(READY)
    assert script.take() == [StartWorker()]
    assert script.feed(CoordinatorConnected()).take() == [up(READY)]


def test_a_worker_that_never_gets_ready_is_killed() -> None:
    script = Script().feed(TimePassed(), CoordinatorConnected()).wait(20.0, beating=False)
    assert script.take() == [StartWorker()]
    script.wait(0.2, beating=False)
    assert script.take() == [KillWorker(), up(WorkerLost(reason="the worker did not get on with loading for 20 s"))]


def test_a_worker_that_gets_on_with_a_checkpoint_is_left_to_it_and_one_that_stops_is_killed() -> None:
    script = Script().feed(TimePassed(), CoordinatorConnected()).wait(100.0)
    assert script.take() == [StartWorker()]
    script.wait(20.0, beating=False)
    assert script.take() == []
    script.wait(0.2, beating=False)
    assert script.take() == [KillWorker(), up(WorkerLost(reason="the worker did not get on with loading for 20 s"))]


# --- relaying ----------------------------------------------------------------------------------------------------


def test_an_epoch_is_relayed_both_ways(script: Script) -> None:
    commands = [start_epoch(), extend_plan(segment(8))]
    assert script.command(*commands).take() == [down(command) for command in commands]
    request = StoreRequest(gang=GangId("g"), request_id=1, operation=StoreOperation.GET, key="k", value=b"", amount=0)
    reply = StoreReply(request_id=1, value=b"v", found=True)
    assert script.say(request).command(reply).take() == [up(request), down(reply)]
    events = [
        EpochJoined(epoch=EPOCH, encode_s=0.1, links=()), StepDone(epoch=EPOCH, step=1), beat_done(4), ended(),
    ]  # fmt: skip
    assert script.say(*events).take() == [up(event) for event in events]
    assert script.command(ForgetJob(job=JOB)).take() == [down(ForgetJob(job=JOB))]


def test_a_worker_that_is_not_ready_answers_through_its_daemon() -> None:
    script = Script().feed(TimePassed(), CoordinatorConnected())
    script.take()
    script.command(CountTokens(request_id=3, model="demo", texts=("t",)), start_epoch())
    failed, refused = script.take()
    assert failed == up(RequestFailed(request_id=3, detail="a: the worker is not ready"))
    assert isinstance(refused, SendUp)
    assert isinstance(refused.event, EpochEnded)
    assert (refused.event.outcome, refused.event.gang_intact) == (EpochOutcome.FAILED, False)


def test_a_second_epoch_is_refused_while_one_is_under_way(running: Script) -> None:
    (refused,) = running.command(start_epoch(EpochId(incarnation=1, counter=8))).take()
    assert isinstance(refused, SendUp)
    assert isinstance(refused.event, EpochEnded)
    assert refused.event.detail == "a: epoch 1.7 has not ended"


def test_commands_for_an_epoch_that_has_ended_are_dropped(running: Script) -> None:
    running.say(ended())
    running.take()
    running.command(CancelEpoch(epoch=EPOCH), AbortEpoch(epoch=EPOCH, reason="late"))
    assert running.take() == []


def test_events_of_another_epoch_are_dropped_and_noted(script: Script) -> None:
    assert script.say(StepDone(epoch=EPOCH, step=1), ended()).take() == []
    assert len(script.notes) == 2


# --- death and restart -------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_told_and_restarted_at_once(running: Script) -> None:
    running.feed(WorkerEnded(detail="signal 9"))
    assert running.take() == [up(WorkerLost(reason="the worker ended: signal 9")), StartWorker()]
    assert running.say(READY).take() == [up(READY)]


def test_restarts_back_off_and_a_proven_worker_resets_them(script: Script) -> None:
    delays_s: list[float] = []
    for _ in range(9):
        script.feed(WorkerEnded(detail="crash"))
        phase = script.state.phase
        delays_s.append(phase.restart_at_s - script.now_s if isinstance(phase, Absent) else 0.0)
        script.wait(delays_s[-1] + 0.1, beating=False)
        assert script.take().count(StartWorker()) == 1
    assert delays_s == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    script.say(READY).command(start_epoch()).say(ended())
    script.take()
    script.feed(WorkerEnded(detail="crash"))
    assert script.take()[-1] == StartWorker()


def test_a_worker_that_lived_long_restarts_without_delay(script: Script) -> None:
    script.feed(WorkerEnded(detail="crash")).say(READY).wait(10.1)
    script.take()
    assert script.feed(WorkerEnded(detail="crash")).take()[-1] == StartWorker()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (WorkerSpoke(event=WorkerLost(reason="no text encoder")), "no text encoder"),
        (WorkerEnded(detail="exit code 3", cannot_load=True), "its own words are above"),
    ],
)
def test_a_model_that_no_worker_can_load_is_given_up(event: OversightEvent, words: str) -> None:
    script = Script().feed(TimePassed(), CoordinatorConnected())
    script.take()
    reason = f"the worker cannot load the model: {words}"
    assert script.feed(event).take() == [up(WorkerLost(reason=reason)), KillWorker(), GiveUpModel(reason=reason)]
    assert script.feed(WorkerEnded(detail="exit code 3", cannot_load=True)).wait(60.0, beating=False).take() == []


def test_a_worker_that_was_ready_could_load_its_model(script: Script) -> None:
    script.feed(WorkerEnded(detail="exit code 3", cannot_load=True))
    assert script.take()[-1] == StartWorker()


def test_last_words_of_a_killed_worker_are_not_relayed(running: Script) -> None:
    running.wait(1.2, beating=False)
    running.take()
    assert running.say(ended(), READY).take() == []
    assert running.feed(WorkerEnded(detail="signal 9")).take() == [StartWorker()]


def test_a_worker_that_breaks_the_protocol_is_killed(script: Script) -> None:
    device = DeviceFacts(uuid="u", name="n", kind=DeviceKind.CPU, memory_total_bytes=1, memory_free_bytes=1)
    script.say(Register(agent=AGENT, protocol_version=1, software=(), device=device))
    assert script.take()[0] == KillWorker()


def test_news_of_memory_are_relayed_once_the_worker_is_announced(script: Script) -> None:
    news = MemoryRead(usable_bytes=2, free_bytes=1)
    assert script.say(news).take() == [up(news)]
    assert script.feed(CoordinatorLost()).say(news).take() == []
    assert script.feed(CoordinatorConnected()).take() == [up(READY)]
    assert script.say(news).take() == [up(news)]


# --- hang --------------------------------------------------------------------------------------------------------


def test_a_silent_worker_is_killed_after_the_heartbeat_limit(script: Script) -> None:
    assert script.wait(1.0, beating=False).take() == []
    assert script.wait(0.2, beating=False).take() == [
        KillWorker(),
        up(WorkerLost(reason="no heartbeat of the worker for 1 s")),
    ]


def test_a_beating_worker_is_left_alone(script: Script) -> None:
    assert script.wait(100.0).take() == []


def test_a_daemon_that_was_stopped_does_not_blame_its_worker(running: Script) -> None:
    running.now_s += 3600.0
    assert running.feed(TimePassed()).take() == []
    assert running.wait(1.2, beating=False).take()[0] == KillWorker()


def test_an_aborted_worker_that_obeys_lives(running: Script) -> None:
    abort = AbortEpoch(epoch=EPOCH, reason="b is lost")
    assert running.command(abort, abort).take() == [down(abort)]
    running.wait(0.4).say(ended(EpochOutcome.ABORTED))
    assert running.take() == [up(ended(EpochOutcome.ABORTED))]
    assert running.wait(5.0).take() == []


def test_an_aborted_worker_that_does_not_obey_is_killed(running: Script) -> None:
    running.command(AbortEpoch(epoch=EPOCH, reason="b is lost"))
    running.take()
    assert running.wait(0.5 + 2 * UNINTERRUPTIBLE_S - 0.1).take() == []
    reason = "the worker did not leave epoch 1.7 in time after it was told to"
    assert running.wait(0.3).take() == [KillWorker(), up(WorkerLost(reason=reason))]


def test_silence_while_stepping_aborts_and_only_disobedience_kills(running: Script) -> None:
    assert running.wait(2.0).say(StepDone(epoch=EPOCH, step=1)).wait(2.9).take() == [up(StepDone(epoch=EPOCH, step=1))]
    (abort,) = running.wait(0.3).take()
    assert abort == down(AbortEpoch(epoch=EPOCH, reason="a saw no progress for 3 s while stepping"))
    assert running.wait(0.5 + 2 * UNINTERRUPTIBLE_S).take()[0] == KillWorker()


def test_an_encoding_under_way_may_end_before_an_abort_is_obeyed(script: Script) -> None:
    script.command(start_epoch(), AbortEpoch(epoch=EPOCH, reason="b is lost"))
    script.take()
    assert script.wait(UNINTERRUPTIBLE_S).say(ended(EpochOutcome.ABORTED)).take() == [up(ended(EpochOutcome.ABORTED))]


def test_a_drained_member_may_wait_for_a_whole_beat(script: Script) -> None:
    script.command(start_epoch(own_rows=0)).say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    script.take()
    assert script.wait(4 * STEP_TIMEOUT_S - 0.1).take() == []
    assert script.wait(0.3).take() != []


def test_a_newer_plan_with_longer_steps_is_waited_for(running: Script) -> None:
    running.say(EpochJoined(epoch=EPOCH, encode_s=0.1, links=())).take()
    running.command(extend_plan(segment(8), version=2, step_timeout_s=2 * STEP_TIMEOUT_S)).take()
    assert running.wait(2 * STEP_TIMEOUT_S - 0.1).take() == []
    assert down(AbortEpoch(epoch=EPOCH, reason="a saw no progress for 6 s while stepping")) in running.wait(0.3).take()


def test_joining_and_decoding_have_limits_of_their_own(script: Script) -> None:
    script.command(start_epoch())
    script.take()
    assert script.wait(29.0).say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()), beat_done(STEPS)).wait(39.0)
    assert not any(isinstance(effect, SendDown) for effect in script.take())
    (abort,) = script.wait(1.2).take()
    assert isinstance(abort, SendDown)
    assert isinstance(abort.command, AbortEpoch)
    assert abort.command.reason.endswith("while decoding")


def test_an_unanswered_request_convicts_a_worker_that_is_in_no_epoch(script: Script) -> None:
    script.command(CountTokens(request_id=1, model="demo", texts=()), start_epoch())
    script.say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    for step in range(60):
        script.wait(1.0).say(StepDone(epoch=EPOCH, step=step))
    script.say(ended())
    assert KillWorker() not in script.take()
    assert script.wait(49.0).take() == []
    assert script.wait(1.2).take()[0] == KillWorker()


# --- the coordinator goes and comes ------------------------------------------------------------------------------


def test_without_a_coordinator_the_epoch_is_left_and_the_job_forgotten(running: Script) -> None:
    assert running.feed(CoordinatorLost()).take() == [down(AbortEpoch(epoch=EPOCH, reason="the coordinator is gone"))]
    assert running.feed(CoordinatorConnected()).take() == []
    running.say(StepDone(epoch=EPOCH, step=2), ended(EpochOutcome.ABORTED))
    assert running.take() == [down(ForgetJob(job=JOB)), up(READY)]


def test_an_answer_to_a_session_that_has_ended_is_told_to_nobody(script: Script) -> None:
    script.command(CountTokens(request_id=1, model="demo", texts=("t",))).feed(
        CoordinatorLost(), CoordinatorConnected()
    )
    script.take()
    assert script.say(TokensCounted(request_id=1, counts=(2,))).take() == [up(READY)]


def test_losses_while_nobody_listens_are_not_sent(script: Script) -> None:
    script.feed(CoordinatorLost(), WorkerEnded(detail="crash"))
    assert script.take() == [StartWorker()]
    assert script.say(READY).feed(CoordinatorConnected()).take() == [up(READY)]
