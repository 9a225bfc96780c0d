"""What every transport promises: order, rendezvous, records, and ends that wake everybody. One suite, two adapters."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from polyrhythm.plan.profile import Link
from polyrhythm_agent.errors import EpochAbortedError, TransportError, forget_frames
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous
from polyrhythm_agent.exchange.transports.torch_distributed import form_gloo_transport
from polyrhythm_agent.ports.transport import Transport
from tests.worlds.members import run_members

Gang = Sequence[Transport]
FormGang = Callable[[int], Gang]
WAKE_LIMIT_S = 5.0
"""Far below every time-out of the adapters, far above what they take (about a millisecond), for a loaded machine."""


def form_in_process(size: int) -> Gang:
    network = InProcessNetwork(size)
    return [network.transport(rank) for rank in range(size)]


def form_gloo(size: int) -> Gang:
    rendezvous = InProcessRendezvous()
    return run_members(
        size,
        lambda rank: form_gloo_transport(rank=rank, size=size, rendezvous=rendezvous, bind_address="127.0.0.1"),
        give_up=lambda: rendezvous.abort("another member failed"),
    )


@pytest.fixture(params=[form_in_process, form_gloo], ids=["in-process", "gloo"])
def form(request: pytest.FixtureRequest) -> Iterator[FormGang]:
    """Forms gangs that are ended with the test."""
    gangs: list[Gang] = []

    def form_gang(size: int) -> Gang:
        gangs.append(request.param(size))
        return gangs[-1]

    yield form_gang
    for gang in gangs:
        for transport in gang:
            transport.abort()


class Waiter:
    """A call on a thread that is expected to block until something ends it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self.ended_s = 0.0
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except TransportError as error:
            forget_frames(error)
            self.error = error
        self.ended_s = time.perf_counter()

    def still_waits(self, within_s: float = 0.05) -> bool:
        self._thread.join(within_s)
        return self._thread.is_alive()

    def woken_after_s(self, begin_s: float) -> float:
        self._thread.join(10.0)
        assert not self._thread.is_alive(), "still blocked"
        return self.ended_s - begin_s


def receive(transport: Transport, source: int, like: torch.Tensor) -> torch.Tensor:
    return transport.post_receive(source, torch.empty_like(like)).wait()


def test_messages_of_a_pair_arrive_in_order_whatever_their_size_and_type(form: FormGang) -> None:
    gang = form(2)
    dtypes = (torch.float32, torch.float64, torch.int64, torch.bfloat16)
    messages = [torch.full((7 * (i * i % 13) + 1, 3), i).to(dtypes[i % 4]) for i in range(40)]

    def member(rank: int) -> list[torch.Tensor]:
        for message in messages:
            gang[rank].send(1 - rank, message + rank)
        return [receive(gang[rank], 1 - rank, message) for message in messages]

    for rank, received in enumerate(run_members(2, member)):
        assert all(torch.equal(a, b + (1 - rank)) for a, b in zip(received, messages, strict=True))


def test_receives_may_be_posted_ahead(form: FormGang) -> None:
    gang = form(2)
    receipts = [gang[1].post_receive(0, torch.empty(5)) for _ in range(10)]
    for number in range(10):
        gang[0].send(1, torch.full((5,), float(number)))
    assert [float(receipt.wait()[0]) for receipt in receipts] == [float(number) for number in range(10)]


def test_send_returns_before_its_receive_is_posted_and_completes_after(form: FormGang) -> None:
    gang = form(2)
    message = torch.arange(1 << 20, dtype=torch.float32)
    for _ in range(3):
        gang[0].send(1, message)
    drained = Waiter(gang[0].drain)
    assert drained.still_waits()
    for _ in range(2):
        assert torch.equal(receive(gang[1], 0, message), message)
    assert drained.still_waits()
    assert torch.equal(receive(gang[1], 0, message), message)
    drained.woken_after_s(0.0)
    assert drained.error is None


def test_pairs_do_not_wait_for_one_another(form: FormGang) -> None:
    gang = form(3)
    gang[0].send(1, torch.ones(1 << 20))  # nobody receives it
    unanswered = Waiter(gang[0].post_receive(1, torch.empty(3)).wait)
    gang[0].send(2, torch.ones(3))
    gang[2].send(0, torch.ones(4))
    assert torch.equal(receive(gang[2], 0, torch.empty(3)), torch.ones(3))
    assert torch.equal(receive(gang[0], 2, torch.empty(4)), torch.ones(4))
    assert unanswered.still_waits()


def test_everybody_gathers_slices_of_unequal_size(form: FormGang) -> None:
    gang = form(4)
    slices = [torch.full((count, 3), float(rank)) for rank, count in enumerate((5, 1, 9, 2))]

    def member(rank: int) -> torch.Tensor:
        peers = [peer for peer in range(4) if peer != rank]
        for peer in peers:
            gang[rank].send(peer, slices[rank])
        receipts = {peer: gang[rank].post_receive(peer, torch.empty_like(slices[peer])) for peer in peers}
        return torch.cat([slices[rank] if peer == rank else receipts[peer].wait() for peer in range(4)])

    for gathered in run_members(4, member):
        assert torch.equal(gathered, torch.cat(slices))


def test_records_are_gathered_in_rank_order_round_by_round(form: FormGang) -> None:
    gang = form(3)

    def member(rank: int) -> list[tuple[tuple[int, ...], ...]]:
        return [gang[rank].all_gather_record((number, rank, -(1 << 62))) for number in range(20)]

    expected = [tuple((number, rank, -(1 << 62)) for rank in range(3)) for number in range(20)]
    assert run_members(3, member) == [expected] * 3


def test_records_wait_for_the_last_member(form: FormGang) -> None:
    gang = form(3)
    waiters = [Waiter(lambda rank=rank: gang[rank].all_gather_record((rank,))) for rank in (0, 2)]
    assert all(waiter.still_waits() for waiter in waiters)
    assert gang[1].all_gather_record((1,)) == ((0,), (1,), (2,))
    for waiter in waiters:
        waiter.woken_after_s(0.0)
        assert waiter.error is None


def test_both_ends_of_a_link_are_told_the_same_measure(form: FormGang) -> None:
    gang = form(4)
    begin_s = time.perf_counter()
    links = [dict(found) for found in run_members(4, lambda rank: gang[rank].probe_links())]
    assert time.perf_counter() - begin_s < 5.0  # 0.1 s on an idle machine
    for rank, found in enumerate(links):
        assert list(found) == [peer for peer in range(4) if peer != rank]
        for peer, link in found.items():
            assert isinstance(link, Link)
            other_end = links[peer][rank]
            assert (link.latency_s, link.bytes_per_s) == (other_end.latency_s, other_end.bytes_per_s)
            assert 0.0 < link.handling_s < 1.0  # each end's own
            assert 0.0 <= link.handling_s_per_byte < 1e-6
            assert 0.0 < link.latency_s < 1.0
            assert link.bytes_per_s > 1e6
    assert [transport.drain() for transport in gang] == [None] * 4


@pytest.mark.parametrize("aborting", [0, 1], ids=["own", "peer"])
@pytest.mark.parametrize("wait", ["receive", "drain", "record"])
def test_abort_wakes_blocked_waits_on_both_ends(form: FormGang, wait: str, aborting: int) -> None:
    gang = form(2)
    gang[0].send(1, torch.ones(1 << 20))
    calls: dict[str, Callable[[], object]] = {
        "receive": gang[0].post_receive(1, torch.empty(3)).wait,
        "drain": gang[0].drain,
        "record": lambda: gang[0].all_gather_record((1, 2)),
    }
    waiter = Waiter(calls[wait])
    assert waiter.still_waits()
    begin_s = time.perf_counter()
    gang[aborting].abort()
    assert waiter.woken_after_s(begin_s) < WAKE_LIMIT_S
    assert isinstance(waiter.error, TransportError)


def test_after_abort_nothing_can_be_sent_or_received_and_abort_may_be_repeated(form: FormGang) -> None:
    gang = form(2)
    gang[0].abort()
    gang[0].abort()
    with pytest.raises(TransportError):
        gang[0].post_receive(1, torch.empty(3)).wait()
    with pytest.raises(TransportError):
        gang[0].all_gather_record((1,))
    with pytest.raises(TransportError):
        gang[0].send(1, torch.ones(3))


def test_a_peer_that_left_is_told_to_those_who_wait_for_it(form: FormGang) -> None:
    gang = form(3)
    gang[2].abort()
    with pytest.raises(TransportError, match="2"):
        gang[0].post_receive(2, torch.empty(3)).wait()


def test_abort_of_one_gang_leaves_another_alone(form: FormGang) -> None:
    gangs = [form(2), form(2)]
    waiter = Waiter(lambda: receive(gangs[1][0], 1, torch.empty(3)))
    gangs[0][0].abort()
    gangs[0][1].abort()
    assert waiter.still_waits()
    gangs[1][1].send(0, torch.ones(3))
    waiter.woken_after_s(0.0)
    assert waiter.error is None


@pytest.mark.parametrize("posted", [torch.empty(4), torch.empty(3, dtype=torch.float64)], ids=["shape", "dtype"])
def test_in_process_finds_messages_that_do_not_fit(posted: torch.Tensor) -> None:
    sender, receiver = form_in_process(2)
    sender.send(1, torch.ones(3))
    with pytest.raises(TransportError, match="message 0"):
        receiver.post_receive(0, posted).wait()
    with pytest.raises(TransportError, match="message 0"):
        sender.drain()


def test_in_process_tells_what_never_met() -> None:
    network = InProcessNetwork(2)
    network.transport(0).send(1, torch.ones(3))
    network.transport(0).post_receive(1, torch.empty(3))
    assert network.pending() == {(0, 1): (1, 0), (1, 0): (0, 1)}


def test_forming_a_gloo_gang_ends_with_the_rendezvous() -> None:
    rendezvous = InProcessRendezvous()
    waiter_error: list[Exception] = []

    def form_alone() -> None:
        try:
            form_gloo_transport(rank=0, size=2, rendezvous=rendezvous, bind_address="127.0.0.1")
        except EpochAbortedError as error:
            waiter_error.append(error)

    waiter = Waiter(form_alone)
    assert waiter.still_waits()
    begin_s = time.perf_counter()
    rendezvous.abort("the other member died")
    assert waiter.woken_after_s(begin_s) < WAKE_LIMIT_S
    assert [str(error) for error in waiter_error] == ["the other member died"]


def test_gloo_refuses_an_address_of_another_host() -> None:
    with pytest.raises(TransportError, match=r"192\.0\.2\.1"):
        form_gloo_transport(rank=0, size=1, rendezvous=InProcessRendezvous(), bind_address="192.0.2.1")


def test_gloo_gives_back_descriptors_and_threads() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(os.listdir("/proc/self/task"))

    def form_use_and_end() -> None:
        gang = form_gloo(3)
        waiter = Waiter(gang[0].post_receive(1, torch.empty(3)).wait)
        for transport in gang:
            transport.abort()
        waiter.woken_after_s(0.0)

    form_use_and_end()  # torch starts threads of its own with the first group
    gc.collect()
    gc.disable()  # a worker's next full collection may never come
    try:
        before = held()
        for _ in range(5):
            form_use_and_end()
        end_s = time.monotonic() + 10.0
        while held() > before and time.monotonic() < end_s:
            threading.Event().wait(0.01)
        assert held() <= before
    finally:
        gc.enable()
