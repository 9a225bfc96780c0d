"""Runs the agent's own program that measures a model, as a child that never outlives this process."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InternalError, InvalidArgumentError, PolyrhythmError
from polyrhythm.model.loading_choices import DtypeChoice
from polyrhythm_client.json_fields import JsonFields
from polyrhythm_client.local.child import EXIT_BAD_INPUT, Child, ChildEndedError
from polyrhythm_client.local.lifeline import Lifeline

GRACE_S = 3.0
_REFUSAL = re.compile(r"polyrhythm-agent calibrate: (--)?(?P<field>[A-Za-z][A-Za-z_-]*): (?P<told>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationWish:
    """What to measure, as written; None leaves it to the program.

    Attributes:
        model: name of one that ships, a path, or a model of the hub.
        model_config: configs and tokenizers of a checkpoint file.
        device: ``cpu`` or ``cuda:N``.
        dtype: arithmetic.
        threads: compute threads of each member.
        pictures: how many to measure in full.
        level_pictures: how many more to measure how touchy pictures are.
        steps: lengths of grids, with commas between.
        prompts: file with one prompt a line.
        members: of the largest gang that is measured.
        replace: whether a calibration of more pictures may be replaced.
    """

    model: str
    model_config: Path | None = None
    device: str | None = None
    dtype: DtypeChoice | None = None
    threads: int | None = None
    pictures: int | None = None
    level_pictures: int | None = None
    steps: str | None = None
    prompts: Path | None = None
    members: int | None = None
    replace: bool = False

    def arguments(self) -> tuple[str, ...]:
        """Options of the program."""
        options = {
            "--model": self.model,
            "--model-config": self.model_config,
            "--device": self.device,
            "--dtype": self.dtype,
            "--threads": self.threads,
            "--pictures": self.pictures,
            "--level-pictures": self.level_pictures,
            "--steps": self.steps,
            "--prompts": self.prompts,
            "--members": self.members,
        }
        given = tuple(text for option, value in options.items() if value is not None for text in (option, str(value)))
        return (*given, "--replace") if self.replace else given


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
    wish: CalibrationWish, agent_command: Sequence[str], on_progress: Callable[[int, int], None]
) -> Calibrated:
    """Measures a model.

    Args:
        wish: what to measure.
        agent_command: program and arguments that start an agent daemon.
        on_progress: told how many of how many runs are done.

    Raises:
        InvalidArgumentError: names the option that the program refused.
        ChildEndedError: the program ended without a result for another reason; says what it said.
        InternalError: it says something that means nothing.
    """
    with Lifeline() as lifeline:
        fd = lifeline.child_fd
        command = (*agent_command, "calibrate", *wish.arguments(), "--lifeline-fd", str(fd))
        child = await Child.start("calibration", command, environment=os.environ, lifeline_fd=fd)
        try:
            while True:
                said = _fields(await child.next_line())
                if "written" in said:
                    return Calibrated(
                        path=Path(said.text("written")),
                        pictures=said.integer("pictures"),
                        steps=said.text("steps"),
                        sampler=said.text("sampler"),
                    )
                on_progress(said.integer("done"), said.integer("total"))
        except ChildEndedError as error:
            raise _translated(error) from error
        finally:
            await child.stop(GRACE_S)


def _translated(error: ChildEndedError) -> PolyrhythmError:
    """Its last line names the option where input is refused; the option is one of ours as well."""
    line = (error.last_words.strip().splitlines() or [""])[-1]
    refusal = _REFUSAL.fullmatch(line)
    if error.exit_code != EXIT_BAD_INPUT or refusal is None:
        return error
    return InvalidArgumentError.of(refusal["field"], refusal["told"])


def _fields(line: str) -> JsonFields:
    try:
        return JsonFields(json.loads(line), "calibration")
    except ValueError as error:
        raise InternalError(f"the calibration said {line!r}: {error}") from error
