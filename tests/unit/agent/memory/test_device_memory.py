"""What a worker says of its memory, the limit that it keeps, and how it tells that memory ran out."""

from __future__ import annotations

import psutil
import pytest
import torch

from polyrhythm.session.events import MemoryRead
from polyrhythm_agent.errors import OutOfMemoryError, TransportError
from polyrhythm_agent.memory.device_memory import HostMemory, LimitedMemory, is_out_of_memory, memory_of

MIB = 1 << 20


def host(available_mib: int) -> HostMemory:
    return HostMemory(weights_bytes=lambda: 100 * MIB, available_bytes=lambda: available_mib * MIB)


def test_a_host_offers_what_is_available_beside_the_weights() -> None:
    assert host(500).read() == MemoryRead(usable_bytes=600 * MIB, free_bytes=500 * MIB)


def test_the_real_host_is_asked() -> None:
    read = memory_of(torch.device("cpu"), weights_bytes=lambda: 7, limit_bytes=None).read()
    assert read.usable_bytes == read.free_bytes + 7
    assert 0 < read.free_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("limit_mib", "available_mib", "usable_mib", "free_mib"),
    [(300, 500, 300, 200), (300, 50, 150, 50), (80, 500, 80, 0)],
)
def test_a_limit_counts_the_weights(limit_mib: int, available_mib: int, usable_mib: int, free_mib: int) -> None:
    limited = LimitedMemory(host(available_mib), limit_mib * MIB)
    assert limited.read() == MemoryRead(usable_bytes=usable_mib * MIB, free_bytes=free_mib * MIB)


def test_a_limit_is_kept_and_says_both_sizes() -> None:
    limited = memory_of(torch.device("cpu"), weights_bytes=lambda: 0, limit_bytes=300 * MIB)
    limited.check(300 * MIB)
    with pytest.raises(OutOfMemoryError, match=r"needs 301\.0 MiB, the limit is 300\.0 MiB"):
        limited.check(301 * MIB)


def test_without_a_limit_no_prediction_is_refused() -> None:
    host(0).check(1 << 60)


def test_memory_that_ran_out_is_told_from_other_failures() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(OutOfMemoryError("the limit"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(TransportError("a peer is gone"))


def test_a_host_without_memory_is_told_by_pytorchs_own_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
