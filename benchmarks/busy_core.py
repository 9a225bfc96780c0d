"""Keeps a share of one core busy: what another program on a device's machine would take.

Runs as a process of its own, bound to the core, until it is ended or its parent is gone. It computes until its CPU time
has caught up with the share of the time that has passed, then sleeps for a turn. What it misses in a while, it does not
catch up: it never takes more than ``DEBT_TURNS`` turns in one piece.

    python benchmarks/busy_core.py --core 1 --share 0.3
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

TURN_S = 0.01
"""Short against a step of the denoiser."""
DEBT_TURNS = 2
MARGIN = 0.95
"""The kernel divides a core evenly among the programs that want it: a single one gets half of it at most, two of them a
third each. So a larger load is made of several programs, each of which asks for a little less than its even part."""


class BusyCore:
    """One or more processes that together take a share of a core. They stand still until they are told to run.

    Args:
        core: its number.
        share: of the core.
    """

    def __init__(self, core: int, share: float) -> None:
        count = programs_for(share)
        self._command = (sys.executable, __file__, "--core", str(core), "--share", str(share / count))
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        # Each leads a session of its own: some kernels divide a core among sessions first.
        self._processes = [subprocess.Popen(self._command, start_new_session=True) for _ in range(self._count)]
        self.set_running(running=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def set_running(self, *, running: bool) -> None:
        """Lets them run or stand still."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT if running else signal.SIGSTOP)


def programs_for(share: float) -> int:
    """How many programs it takes to get a share of a core beside one that wants all of it.

    Raises:
        ValueError: so much cannot be had: it is no share, or nearly all.
    """
    if not 0 < share < MARGIN:
        raise ValueError(f"a load takes a share between 0 and {MARGIN}: {share}")
    count = 1
    while share / count >= MARGIN / (count + 1):
        count += 1
    return count


def turn(share: float, wall_s: float, cpu_s: float) -> tuple[float, float]:
    """What to do next: seconds to compute, and CPU seconds that are given up for good.

    Args:
        share: of the core.
        wall_s: that have passed.
        cpu_s: that were used or given up.
    """
    owed_s = share * wall_s - cpu_s
    longest_s = DEBT_TURNS * TURN_S
    return max(0.0, min(owed_s, longest_s)), max(0.0, owed_s - longest_s)


def main() -> None:
    """Keeps the core busy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--share", type=float, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    parent, begun_s, given_up_s = os.getppid(), time.monotonic(), 0.0
    while os.getppid() == parent:
        compute_s, lost_s = turn(options.share, time.monotonic() - begun_s, time.process_time() + given_up_s)
        given_up_s += lost_s
        until_s = time.process_time() + compute_s
        while time.process_time() < until_s:
            pass
        time.sleep(TURN_S)


if __name__ == "__main__":
    main()
