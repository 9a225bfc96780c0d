"""What a link is measured to take: the middle of its messages, whatever else the process does meanwhile."""

from __future__ import annotations

import time

from torch import Tensor

from polyrhythm_agent.exchange.links import measure_links
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork, InProcessTransport
from tests.worlds.members import run_members

BEGINNING_S = 0.05
"""CPU time of what a process begins beside its first messages: threads, imports, another measurement."""
MESSAGES = 3


class BusyAtFirst(InProcessTransport):
    """A member whose process computes something else during the first few messages."""

    sent = 0

    def send(self, destination: int, message: Tensor) -> None:
        self.sent += 1
        if self.sent <= MESSAGES:
            until_s = time.thread_time() + BEGINNING_S
            while time.thread_time() < until_s:
                pass
        super().send(destination, message)


def test_what_a_process_does_once_is_not_taken_for_the_cost_of_every_message() -> None:
    network = InProcessNetwork(2)
    gang = [BusyAtFirst(network, rank) for rank in range(2)]
    for found in run_members(2, lambda rank: measure_links(gang[rank])):
        ((_, link),) = found
        # In the mean of all messages it would be 2 ms and more.
        assert 0 < link.handling_s < 1e-3
