"""Store operations over the channel: answered by number, ended by an abort or by a gang that was given up."""

from __future__ import annotations

import threading

import pytest

from polyrhythm.ids import GangId
from polyrhythm.session.events import AgentEvent
from polyrhythm.session.rendezvous import StoreOperation, StoreReply, StoreRequest
from polyrhythm_agent.errors import EpochAbortedError
from polyrhythm_agent.worker.rendezvous_relay import RendezvousRelay

GANG = GangId("g")


class Channel:
    """Collects what is sent and lets a test wait for it."""

    def __init__(self) -> None:
        self.sent: list[StoreRequest] = []
        self.arrived = threading.Semaphore(0)

    def send(self, event: AgentEvent) -> None:
        assert isinstance(event, StoreRequest)
        self.sent.append(event)
        self.arrived.release()


def ask(relay: RendezvousRelay, operation: StoreOperation, outcome: list[object]) -> threading.Thread:
    def run() -> None:
        try:
            outcome.append(relay.call(GANG, operation, "key", b"", 0))
        except EpochAbortedError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_each_caller_gets_the_answer_to_its_own_question() -> None:
    channel = Channel()
    relay = RendezvousRelay(send=channel.send)
    outcomes: list[list[object]] = [[], []]
    threads = []
    for outcome in outcomes:
        threads.append(ask(relay, StoreOperation.GET, outcome))
        assert channel.arrived.acquire(timeout=5)
    for request in reversed(channel.sent):
        relay.answer(StoreReply(request_id=request.request_id, value=str(request.request_id).encode(), found=True))
    for thread in threads:
        thread.join(timeout=5)
    assert outcomes == [[(b"1", True)], [(b"2", True)]]


@pytest.mark.parametrize("found", [True, False])
def test_a_refused_get_ends_the_epoch_and_a_refused_check_is_an_answer(found: bool) -> None:
    for operation in (StoreOperation.GET, StoreOperation.CHECK):
        channel = Channel()
        relay = RendezvousRelay(send=channel.send)
        outcome: list[object] = []
        thread = ask(relay, operation, outcome)
        assert channel.arrived.acquire(timeout=5)
        relay.answer(StoreReply(request_id=channel.sent[0].request_id, value=b"", found=found))
        thread.join(timeout=5)
        if operation is StoreOperation.GET and not found:
            assert isinstance(outcome[0], EpochAbortedError)
        else:
            assert outcome == [(b"", found)]


def test_abort_wakes_who_waits_until_the_next_epoch_opens() -> None:
    channel = Channel()
    relay = RendezvousRelay(send=channel.send)
    outcome: list[object] = []
    thread = ask(relay, StoreOperation.GET, outcome)
    assert channel.arrived.acquire(timeout=5)
    relay.abort("a member is lost")
    thread.join(timeout=5)
    assert str(outcome[0]) == "a member is lost"
    relay.open()
    later: list[object] = []
    thread = ask(relay, StoreOperation.GET, later)
    assert channel.arrived.acquire(timeout=5)
    relay.answer(StoreReply(request_id=channel.sent[0].request_id, value=b"late", found=True))  # nobody waits for it
    relay.answer(StoreReply(request_id=channel.sent[1].request_id, value=b"new", found=True))
    thread.join(timeout=5)
    assert later == [(b"new", True)]
