"""The simulator as a child process: its options in, its account out. The simulation itself is the coordinator's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from polyrhythm.errors import FieldViolation, InternalError, InvalidArgumentError, PolyrhythmError
from polyrhythm_client.local.child import EXIT_BAD_INPUT, GRACE_S, Child, ChildEndedError
from polyrhythm_client.local.lifeline import Lifeline
from polyrhythm_client.local.programs import INSTALLED, Executables

EXIT_FAILED = 1


class SimulatorError(PolyrhythmError):
    """The simulator could not do what it was asked for; the message is its own."""


async def run_simulator(arguments: Sequence[str], executables: Executables = INSTALLED) -> dict[str, Any]:
    """Runs the simulator once.

    Args:
        arguments: its options.
        executables: how it is started.

    Returns:
        Its account, the one object that it prints.

    Raises:
        InvalidArgumentError: names the fields that it refused.
        SimulatorError: it failed for another reason that it names.
        ChildEndedError: it was ended by something else.
    """
    command = (*executables.simulator, *arguments)
    with Lifeline() as lifeline:
        child = await Child.start("simulator", command, environment=os.environ, lifeline_fd=lifeline.child_fd)
        try:
            line = await child.next_line()
        except ChildEndedError as error:
            raise _translated(error) from error
        finally:
            await child.stop(GRACE_S)
    try:
        account: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise InternalError(f"the simulator printed what is no JSON: {line[:80]!r}") from error
    return account


def _translated(error: ChildEndedError) -> PolyrhythmError:
    """Its last words are lines of ``field: description`` where input is refused, else one message."""
    lines = [line for line in error.last_words.splitlines() if line.strip()]
    if error.exit_code == EXIT_BAD_INPUT and lines and all(": " in line for line in lines):
        parts = [line.split(": ", maxsplit=1) for line in lines]
        return InvalidArgumentError(*(FieldViolation(field=field, description=wrong) for field, wrong in parts))
    if error.exit_code == EXIT_FAILED and len(lines) == 1:
        return SimulatorError(lines[0])
    return error
