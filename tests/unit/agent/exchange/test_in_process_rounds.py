"""Records of the in-process transport are forgotten once every member has them."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from tests.worlds.members import run_members

ROUNDS = 500
GROWTH_MAX_BYTES = 50 * ROUNDS
"""A round that is kept holds about 330 bytes."""


@pytest.mark.parametrize("size", [1, 3])
def test_rounds_that_everybody_has_read_take_no_memory(size: int) -> None:
    network = InProcessNetwork(size)
    transports = [network.transport(rank) for rank in range(size)]

    def exchange_records(rank: int) -> None:
        for number in range(ROUNDS):
            records = transports[rank].all_gather_record((rank, 1000 + number))
            assert records == tuple((member, 1000 + number) for member in range(size))

    def held_bytes() -> int:
        run_members(size, exchange_records)
        gc.collect()  # also empties what the interpreter keeps of freed tuples, for use again
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first_bytes = held_bytes()
        assert held_bytes() - first_bytes < GROWTH_MAX_BYTES
    finally:
        tracemalloc.stop()
