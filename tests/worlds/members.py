"""Runs the members of a gang as threads of one process, and notices when they wait for one another for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from tests.worlds.one_core import one_core

Result = TypeVar("Result")


class StuckError(AssertionError):
    """Members did not end in time."""


def run_members(
    size: int, body: Callable[[int], Result], *, give_up: Callable[[], None] | None = None, timeout_s: float = 30.0
) -> list[Result]:
    """Runs ``body(rank)`` for every rank at once, in inference mode.

    Args:
        size: members.
        body: what each does.
        give_up: called once when a member fails or the time is over; must end all waits.
        timeout_s: for all together.

    Returns:
        What each returned, in rank order. A failed assertion, or else the first error of any member, is raised instead.

    Raises:
        StuckError: a member did not end in time.
    """
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                results[rank] = body(rank)
        except BaseException as error:  # noqa: BLE001  (handed to the test's own thread)
            errors.append(error)
            if give_up is not None:
                give_up()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    end_s = time.monotonic() + timeout_s
    with one_core():
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    stuck = [rank for rank, thread in enumerate(threads) if thread.is_alive()]
    if stuck and not errors:
        if give_up is not None:
            give_up()
        raise StuckError(f"members {stuck} still wait after {timeout_s} s")
    if errors:  # a member that fails takes the others with it: its own error says more than theirs
        raise next((error for error in errors if isinstance(error, AssertionError)), errors[0])
    return [results[rank] for rank in range(size)]
