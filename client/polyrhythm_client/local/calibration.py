"""Runs the agent's own program that measures a model, as a child that never outlives this process."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyrhythm.errors import InternalError, InvalidArgumentError, PolyrhythmError
from polyrhythm_client.local.child import EXIT_BAD_INPUT, GRACE_S, Child, ChildEndedError
from polyrhythm_client.local.lifeline import Lifeline

_REFUSAL = re.compile(r"polyrhythm-agent calibrate: (--)?(?P<field>[A-Za-z][A-Za-z_-]*): (?P<description>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What was measured.

    Attributes:
        path: the file that was written.
        pictures: measured.
        steps: lengths of grids, with commas between.
        sampler: that was measured.
    """

    path: Path
    pictures: int
    steps: str
    sampler: str


async def run_calibration(
    arguments: Sequence[str], agent_command: Sequence[str], on_progress: Callable[[int, int], None]
) -> Calibrated:
    """Measures a model.

    Args:
        arguments: options of the program, that say what to measure.
        agent_command: program and arguments that start an agent daemon.
        on_progress: called with how many of how many runs are done.

    Raises:
        InvalidArgumentError: names the option that the program refused.
        ChildEndedError: the program ended without a result for another reason; says what it said.
        InternalError: it says something that means nothing.
    """
    with Lifeline() as lifeline:
        fd = lifeline.child_fd
        command = (*agent_command, "calibrate", *arguments, "--lifeline-fd", str(fd))
        child = await Child.start("calibration", command, environment=os.environ, lifeline_fd=fd)
        try:
            while (calibrated := _read(await child.next_line(), on_progress)) is None:
                pass
        except ChildEndedError as error:
            raise _translated(error) from error
        finally:
            await child.stop(GRACE_S)
    return calibrated


def _read(line: str, on_progress: Callable[[int, int], None]) -> Calibrated | None:
    """Reads one line of the program: the result, or how far it has come.

    Raises:
        InternalError: it is neither.
    """
    try:
        said: dict[str, Any] = json.loads(line)
        if "written" in said:
            return Calibrated(
                path=Path(said["written"]), pictures=said["pictures"], steps=said["steps"], sampler=said["sampler"]
            )
        on_progress(said["done"], said["total"])
    except (ValueError, KeyError, TypeError) as error:
        raise InternalError(f"the calibration said {line!r}: {error!r}") from error
    return None


def _translated(error: ChildEndedError) -> PolyrhythmError:
    """Its last line names the option where input is refused; the option is one of ours as well."""
    line = (error.last_words.strip().splitlines() or [""])[-1]
    refusal = _REFUSAL.fullmatch(line)
    if error.exit_code != EXIT_BAD_INPUT or refusal is None:
        return error
    return InvalidArgumentError.of(refusal["field"], refusal["description"])
