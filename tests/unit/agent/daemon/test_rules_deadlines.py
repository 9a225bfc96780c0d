"""What a daemon does about silence: of a worker, of an epoch, of itself."""

from __future__ import annotations

from polyrhythm.model.request_choices import Sampler
from polyrhythm.session.commands import AbortEpoch, CountTokens
from polyrhythm.session.events import EpochJoined, EpochOutcome, StepDone, WorkerLost
from polyrhythm_agent.daemon.rules.signals import (
    TICK_S,
    KillWorker,
    SendDown,
    TimePassed,
)
from polyrhythm_agent.daemon.rules.state import Limits
from polyrhythm_coordinator.scheduling.state import timeouts as scheduling_limits
from tests.worlds.rules_script import (
    AGENT,
    EPOCH,
    LIMITS,
    STEP_TIMEOUT_S,
    STEPS,
    UNINTERRUPTIBLE_S,
    Script,
    beat_done,
    down,
    ended,
    extend_plan,
    segment,
    start_epoch,
    up,
)


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


def test_a_worker_that_is_alone_in_its_epoch_has_longer_to_leave_it(script: Script) -> None:
    script.command(start_epoch(members=(AGENT,)))
    script.say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    assert down(AbortEpoch(epoch=EPOCH, reason="a saw no progress for 3 s while stepping")) in script.wait(3.2).take()
    patience_s = LIMITS.abort_s + 2 * UNINTERRUPTIBLE_S
    assert script.wait(patience_s + LIMITS.alone_extra_s - 0.3).take() == []
    assert script.wait(0.4).take()[0] == KillWorker()


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
    script.command(CountTokens(request_id=1, model="demo", texts=(), sampler=Sampler.DDIM, steps=4), start_epoch())
    script.say(EpochJoined(epoch=EPOCH, encode_s=0.0, links=()))
    for step in range(60):
        script.wait(1.0).say(StepDone(epoch=EPOCH, step=step))
    script.say(ended())
    assert KillWorker() not in script.take()
    assert script.wait(49.0).take() == []
    assert script.wait(1.2).take()[0] == KillWorker()


def test_the_coordinator_waits_longer_than_the_daemon_which_knows_whose_worker_hangs() -> None:
    own, leading = Limits(), scheduling_limits.Limits()
    assert own.abort_slack == leading.abort_slack
    for own_s, leading_s in ((0.0, 0.0), (own.alone_extra_s, leading.alone_extra_s)):
        assert own.abort_s + own_s + TICK_S < leading.abort_timeout_s + leading_s
