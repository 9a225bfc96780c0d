"""The NCCL transport between two devices of one host: order, records, abort. Skipped with fewer devices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.distributed as dist

from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.nccl import form_nccl_transport
from polyrhythm_agent.exchange.rendezvous import InProcessRendezvous
from polyrhythm_agent.ports import Transport
from tests.members import run_members

pytestmark = pytest.mark.skipif(
    torch.cuda.device_count() < 2 or not dist.is_nccl_available(), reason="needs two CUDA devices and NCCL"
)


@pytest.fixture
def gang() -> Iterator[Sequence[Transport]]:
    rendezvous = InProcessRendezvous()
    transports = run_members(
        2,
        lambda rank: form_nccl_transport(
            rank=rank,
            size=2,
            rendezvous=rendezvous,
            device=torch.device("cuda", rank),
            bind_address="127.0.0.1",
        ),
        give_up=lambda: rendezvous.abort("the other member failed"),
    )
    yield transports
    for transport in transports:
        transport.abort()


def test_messages_of_a_pair_arrive_in_order(gang: Sequence[Transport]) -> None:
    def member(rank: int) -> list[float]:
        device = torch.device("cuda", rank)
        with torch.cuda.device(device):
            receipts = [gang[rank].post_receive(1 - rank, torch.empty(1 << 16, device=device)) for _ in range(10)]
            for number in range(10):
                gang[rank].send(1 - rank, torch.full((1 << 16,), float(number + 100 * rank), device=device))
            found = [float(receipt.wait()[-1]) for receipt in receipts]
            gang[rank].drain()
        return found

    expected = [float(number) for number in range(10)]
    assert run_members(2, member) == [[number + 100 for number in expected], expected]


def test_records_and_links(gang: Sequence[Transport]) -> None:
    def member(rank: int) -> object:
        with torch.cuda.device(rank):
            [(peer, link)] = gang[rank].probe_links()
        assert peer == 1 - rank
        return link, gang[rank].all_gather_record((rank, 7))

    first, second = run_members(2, member)
    assert first == second


def test_abort_wakes_a_blocked_receive(gang: Sequence[Transport]) -> None:
    receipt = gang[0].post_receive(1, torch.empty(16, device="cuda:0"))
    errors: list[TransportError] = []

    def wait() -> None:
        try:
            receipt.wait()
        except TransportError as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    begin_s = time.perf_counter()
    gang[0].abort()
    thread.join(10)
    assert time.perf_counter() - begin_s < 2.0
    assert len(errors) == 1
