"""How long anything may hold the coordinator's event loop, on whatever core the tests run."""

from __future__ import annotations

from time import thread_time

HOLD_S_MAX = 0.020
REFERENCE_S = 0.0055
"""CPU seconds of the sum in ``slowness`` where the limit holds; a slower or busier core is allowed in proportion."""
RUNS = 20
"""Others use the machine too, and its caches: one run that they do not disturb is enough."""


def slowness() -> float:
    """How many times slower this core is now than one for which the limit is meant; at least 1."""
    begin_s = thread_time()
    sum(number * number for number in range(100_000))
    return max(1.0, (thread_time() - begin_s) / REFERENCE_S)
