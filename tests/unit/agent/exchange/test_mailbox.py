"""The mailbox: blocking, keeping, ending."""

from __future__ import annotations

import threading

import pytest
import torch

from polyrhythm_agent.errors import EpochAbortedError, TransportError
from polyrhythm_agent.exchange.mailbox import Mailbox


def test_an_entry_goes_with_its_last_reader() -> None:
    mailbox: Mailbox[str] = Mailbox()
    tensor = torch.ones(2)
    mailbox.put("a", tensor)
    assert mailbox.take("a", keep=True) is tensor
    assert mailbox.held == {"a"}
    assert mailbox.take("a") is tensor
    assert mailbox.held == frozenset()
    assert mailbox.waited_s == 0.0


def test_take_waits_for_its_own_key_and_says_how_long() -> None:
    mailbox: Mailbox[str] = Mailbox()
    taken: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take("b")), daemon=True)
    thread.start()
    mailbox.put("a", torch.zeros(1))
    thread.join(0.05)
    assert thread.is_alive()
    mailbox.put("b", torch.ones(1))
    thread.join(10)
    assert [float(tensor) for tensor in taken] == [1.0]
    assert 0.0 < mailbox.waited_s < 10.0
    assert mailbox.held == {"a"}


def test_a_key_is_delivered_once() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put("a", torch.ones(1))
    with pytest.raises(ValueError, match="twice"):
        mailbox.put("a", torch.ones(1))


def test_the_first_abort_decides_and_outlasts_what_arrived() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put("a", torch.ones(1))
    mailbox.abort(EpochAbortedError("first"))
    mailbox.abort(TransportError("second"))
    with pytest.raises(EpochAbortedError, match="first"):
        mailbox.take("a")
    assert mailbox.held == frozenset()
    assert str(mailbox.error) == "first"
