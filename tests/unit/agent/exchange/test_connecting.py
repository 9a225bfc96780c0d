"""Connecting can be given up although the call that connects cannot be interrupted."""

from __future__ import annotations

import threading

import pytest

from polyrhythm_agent.errors import EpochAbortedError, TransportError
from polyrhythm_agent.exchange.transports.connecting import connected
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous


def test_it_returns_what_was_connected() -> None:
    assert connected(0, InProcessRendezvous(), lambda: ["data", "control"]) == ["data", "control"]


def test_it_raises_what_went_wrong() -> None:
    def refuse() -> list[str]:
        raise TransportError("refused")

    with pytest.raises(TransportError, match="refused"):
        connected(0, InProcessRendezvous(), refuse)


def test_an_abort_ends_the_wait_for_a_call_that_goes_on() -> None:
    rendezvous, dialling, hung_up = InProcessRendezvous(), threading.Event(), threading.Event()

    def dial() -> list[str]:
        dialling.set()
        hung_up.wait()
        return []

    def abort() -> None:
        dialling.wait()
        rendezvous.abort("a member died")

    threading.Thread(target=abort).start()
    try:
        with pytest.raises(EpochAbortedError, match="died"):
            connected(0, rendezvous, dial)
        assert not hung_up.is_set()
    finally:
        hung_up.set()
