"""Two members in two processes: one is killed, or stops answering."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous
from polyrhythm_agent.exchange.transports.torch_distributed import GlooTransport, form_gloo_transport
from tests.integration import gloo_peer

WAKE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Gang:
    transport: GlooTransport
    peer: subprocess.Popen[bytes]


@pytest.fixture
def gang() -> Iterator[Gang]:
    """This process as member 0, a child as member 1 that sends every message back."""
    rendezvous = InProcessRendezvous()
    ours, theirs = socket.socketpair()
    with theirs:
        peer = subprocess.Popen(
            [sys.executable, str(Path(gloo_peer.__file__)), str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
    answering = threading.Thread(target=gloo_peer.serve, args=(ours, rendezvous), daemon=True)
    answering.start()
    try:
        transport = form_gloo_transport(rank=0, size=2, rendezvous=rendezvous, bind_address="127.0.0.1")
        yield Gang(transport, peer)
        transport.abort()
    finally:
        rendezvous.abort("the test is over")
        peer.kill()
        peer.wait(10)
        answering.join(10)


def blocked_receive(gang: Gang) -> tuple[threading.Thread, list[tuple[TransportError, float]]]:
    """A thread that waits for a message that never comes; tells its error and when."""
    message = torch.rand(gloo_peer.MESSAGE_SHAPE)
    gang.transport.send(1, message)
    assert torch.equal(gang.transport.post_receive(1, torch.empty_like(message)).wait(), message)
    ended: list[tuple[TransportError, float]] = []
    receipt = gang.transport.post_receive(1, torch.empty_like(message))

    def wait() -> None:
        try:
            receipt.wait()
        except TransportError as error:
            ended.append((error, time.perf_counter()))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread, ended


def test_a_killed_peer_ends_waits_at_once(gang: Gang) -> None:
    thread, ended = blocked_receive(gang)
    begin_s = time.perf_counter()
    gang.peer.kill()
    thread.join(10)
    [(error, ended_s)] = ended
    assert str(error) == "member 1 is gone"
    assert ended_s - begin_s < WAKE_LIMIT_S


def test_a_peer_that_hangs_is_waited_for_until_abort(gang: Gang) -> None:
    gang.peer.send_signal(signal.SIGSTOP)
    gang.transport.send(1, torch.rand(gloo_peer.MESSAGE_SHAPE))
    ended: list[TransportError] = []

    def wait() -> None:
        try:
            gang.transport.all_gather_record((1, 2, 3))
        except TransportError as error:
            ended.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    begin_s = time.perf_counter()
    gang.transport.abort()
    thread.join(10)
    assert time.perf_counter() - begin_s < WAKE_LIMIT_S
    assert [str(error) for error in ended] == ["the transport was aborted"]
