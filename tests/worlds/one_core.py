"""Keeps threads of one process that take turns on one core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_core() -> Iterator[None]:
    """Threads that are started within stay on one core; the caller may go everywhere again afterwards.

    The members of a gang in one process hold the interpreter's lock in turn. Handing it over from core to core costs
    more than a tiny model's layer: the same pictures take up to twice as long on two cores as on one.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[_place() % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _place() -> int:
    """Of this process among those that run tests at the same time."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(worker.removeprefix("gw")) if worker else os.getpid()
