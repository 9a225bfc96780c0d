"""Scripts of what a daemon sees, and what it must do: no process, no socket, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.ids import EpochId, GangId
from polyrhythm.model.facts import DeviceFacts, DeviceKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Workload
from polyrhythm.session.commands import AbortEpoch, CancelEpoch, CountTokens, ForgetJob, MeasureProfile, StopMeasuring
from polyrhythm.session.events import (
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    MemoryRead,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    WorkerLost,
)
from polyrhythm.session.rendezvous import StoreOperation, StoreReply, StoreRequest
from polyrhythm_agent.daemon.rules.signals import (
    CoordinatorConnected,
    CoordinatorLost,
    GiveUpModel,
    GiveUpStarting,
    KillWorker,
    OversightEvent,
    SendUp,
    StartWorker,
    TimePassed,
    WorkerEnded,
    WorkerSpoke,
)
from polyrhythm_agent.daemon.rules.state import Absent
from tests.worlds.rules_script import (
    AGENT,
    EPOCH,
    JOB,
    LIMITS,
    READY,
    Script,
    beat_done,
    down,
    ended,
    extend_plan,
    segment,
    start_epoch,
    up,
)

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
    script.command(CountTokens(request_id=3, model="demo", texts=("t",), sampler=Sampler.DDIM, steps=4), start_epoch())
    failed, refused = script.take()
    assert failed == up(RequestFailed(request_id=3, message="a: the worker is not ready"))
    assert isinstance(refused, SendUp)
    assert isinstance(refused.event, EpochEnded)
    assert (refused.event.outcome, refused.event.gang_intact) == (EpochOutcome.FAILED, False)


def test_a_second_epoch_is_refused_while_one_is_under_way(running: Script) -> None:
    (refused,) = running.command(start_epoch(EpochId(incarnation=1, counter=8))).take()
    assert isinstance(refused, SendUp)
    assert isinstance(refused.event, EpochEnded)
    assert refused.event.message == "a: epoch 1.7 has not ended"


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
    running.feed(WorkerEnded(message="signal 9"))
    assert running.take() == [up(WorkerLost(reason="the worker ended: signal 9")), StartWorker()]
    assert running.say(READY).take() == [up(READY)]


def test_restarts_back_off_and_a_proven_worker_resets_them(script: Script) -> None:
    delays_s: list[float] = []
    for _ in range(9):
        script.feed(WorkerEnded(message="crash"))
        phase = script.state.phase
        delays_s.append(phase.restart_at_s - script.now_s if isinstance(phase, Absent) else 0.0)
        script.wait(delays_s[-1] + 0.1, beating=False)
        assert script.take().count(StartWorker()) == 1
    assert delays_s == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    script.say(READY).command(start_epoch()).say(ended())
    script.take()
    script.feed(WorkerEnded(message="crash"))
    assert script.take()[-1] == StartWorker()


def test_a_worker_that_lived_long_restarts_without_delay(script: Script) -> None:
    script.feed(WorkerEnded(message="crash")).say(READY).wait(10.1)
    script.take()
    assert script.feed(WorkerEnded(message="crash")).take()[-1] == StartWorker()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (WorkerSpoke(event=WorkerLost(reason="no text encoder")), "no text encoder"),
        (WorkerEnded(message="exit code 3", cannot_load=True), "its own words are above"),
    ],
)
def test_a_model_that_no_worker_can_load_is_given_up(event: OversightEvent, words: str) -> None:
    script = Script().feed(TimePassed(), CoordinatorConnected())
    script.take()
    reason = f"the worker cannot load the model: {words}"
    assert script.feed(event).take() == [up(WorkerLost(reason=reason)), KillWorker(), GiveUpModel(reason=reason)]
    assert script.feed(WorkerEnded(message="exit code 3", cannot_load=True)).wait(60.0, beating=False).take() == []


def test_an_agent_gives_up_after_as_many_failed_starts_as_it_is_told_to() -> None:
    script = Script(replace(LIMITS, starts_max=3)).feed(TimePassed(), CoordinatorConnected())
    for _ in range(2):
        script.feed(WorkerEnded(message="exit code 1")).wait(1.0, beating=False)
    script.say(READY).feed(WorkerEnded(message="exit code 1")).wait(2.1, beating=False)
    script.take()
    assert script.state.failed_starts == 0, "one that was ready has started"
    for _ in range(2):
        script.feed(WorkerEnded(message="exit code 1")).wait(8.1, beating=False)
    script.take()
    script.feed(WorkerEnded(message="exit code 1; it said:\nno folder"))
    lost = "the worker ended: exit code 1; it said:\nno folder"
    reason = f"3 workers in a row were lost before they were ready; the last one: {lost}"
    assert script.take() == [up(WorkerLost(reason=lost)), GiveUpStarting(reason=reason)]
    assert script.wait(60.0, beating=False).take() == []


def test_a_worker_that_hangs_at_its_start_has_failed_to_start_too() -> None:
    script = Script(replace(LIMITS, starts_max=1)).feed(TimePassed()).wait(20.3, beating=False)
    script.take()
    (given_up,) = script.feed(WorkerEnded(message="signal SIGKILL")).take()
    assert isinstance(given_up, GiveUpStarting)
    assert given_up.reason.endswith("the last one: the worker did not get on with loading for 20 s")


def test_a_worker_that_was_ready_could_load_its_model(script: Script) -> None:
    script.feed(WorkerEnded(message="exit code 3", cannot_load=True))
    assert script.take()[-1] == StartWorker()


def test_last_words_of_a_killed_worker_are_not_relayed(running: Script) -> None:
    running.wait(1.2, beating=False)
    running.take()
    assert running.say(ended(), READY).take() == []
    assert running.feed(WorkerEnded(message="signal 9")).take() == [StartWorker()]


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


# --- the coordinator goes and comes ------------------------------------------------------------------------------


def test_without_a_coordinator_the_epoch_is_left_and_the_job_forgotten(running: Script) -> None:
    assert running.feed(CoordinatorLost()).take() == [down(AbortEpoch(epoch=EPOCH, reason="the coordinator is gone"))]
    assert running.feed(CoordinatorConnected()).take() == []
    running.say(StepDone(epoch=EPOCH, step=2), ended(EpochOutcome.ABORTED))
    assert running.take() == [down(ForgetJob(job=JOB)), up(READY)]


def test_an_answer_to_a_session_that_has_ended_is_told_to_nobody(script: Script) -> None:
    script.command(CountTokens(request_id=1, model="demo", texts=("t",), sampler=Sampler.DDIM, steps=4)).feed(
        CoordinatorLost(), CoordinatorConnected()
    )
    script.take()
    assert script.say(TokensCounted(request_id=1, counts=(2,))).take() == [up(READY)]


def test_a_measurement_ends_when_nobody_waits_for_it_or_is_there_to(script: Script) -> None:
    measure = MeasureProfile(request_id=1, workload=Workload(model="demo", width_px=64, height_px=64, batch=2))
    stop = down(StopMeasuring(request_id=1))
    assert script.command(measure, StopMeasuring(request_id=1)).take() == [down(measure), stop]
    assert script.feed(CoordinatorLost()).take() == [stop]


def test_losses_while_nobody_listens_are_not_sent(script: Script) -> None:
    script.feed(CoordinatorLost(), WorkerEnded(message="crash"))
    assert script.take() == [StartWorker()]
    assert script.say(READY).feed(CoordinatorConnected()).take() == [up(READY)]
