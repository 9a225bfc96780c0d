"""The torch store over a rendezvous client."""

from __future__ import annotations

import threading

import pytest

from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import EpochAbortedError
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous, RendezvousStore


def test_values_are_bytes_and_prefixes_apart() -> None:
    client = InProcessRendezvous()
    data, control = (RendezvousStore(client, prefix=prefix) for prefix in ("data/", "control/"))
    data.set("0", b"\x00\xff")
    control.set("0", "text")
    assert data.get("0") == b"\x00\xff"
    assert control.get("0") == b"text"
    assert client.call(StoreOperation.GET, "data/0", b"", 0) == (b"\x00\xff", True)


def test_numbers_keys_and_deletion() -> None:
    store = RendezvousStore(InProcessRendezvous(), prefix="")
    assert store.add("count", 2) == 2
    assert store.add("count", 3) == 5
    assert store.check(["count"])
    assert not store.check(["count", "other"])
    assert store.delete_key("count")
    assert not store.delete_key("count")
    assert not store.has_extended_api()


def test_wait_ends_with_the_last_key() -> None:
    store = RendezvousStore(InProcessRendezvous(), prefix="")
    store.set("a", b"1")
    thread = threading.Thread(target=lambda: store.wait(["a", "b"]), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    store.set("b", b"2")
    thread.join(10)
    assert not thread.is_alive()


def test_abort_ends_a_blocked_get_and_those_to_come() -> None:
    client = InProcessRendezvous()
    store = RendezvousStore(client, prefix="")
    errors: list[EpochAbortedError] = []

    def get() -> None:
        try:
            store.get("never")
        except EpochAbortedError as error:
            errors.append(error)

    thread = threading.Thread(target=get, daemon=True)
    thread.start()
    client.abort("over")
    thread.join(10)
    assert [str(error) for error in errors] == ["over"]
    with pytest.raises(EpochAbortedError):
        store.get("never")
