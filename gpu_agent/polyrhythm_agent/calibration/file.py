"""The calibration file of a model folder. No torch.

Owns the name and form of the file: one entry a sampler and length of grid, and the rule that numbers of other weights
count for nothing. The file decides plans and no picture, so the folder's fingerprint leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from polyrhythm.codec.model import CALIBRATION
from polyrhythm.errors import InvalidArgumentError, PolyrhythmError, WireError
from polyrhythm.model.calibration import Calibration, FigureError
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.calibration.folder import written_into
from polyrhythm_agent.model_files.folder_text import read_text

CALIBRATION_FILE = "calibration.json"
FORMAT = 4
IN_FULL = "pictures_in_full"
"""In the record of how an entry was made."""

log = structlog.get_logger()


class CalibrationFileError(PolyrhythmError):
    """A calibration file cannot be used; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """How many pictures a calibration rests on.

    Attributes:
        in_all: of each it is measured how touchy it is.
        in_full: of these, the ones that say what each disturbance costs; None where nobody wrote that down.
    """

    in_all: int
    in_full: int | None

    def __str__(self) -> str:
        return f"{self.in_all} pictures" + ("" if self.in_full is None else f", {self.in_full} of them in full,")

    def surpass(self, others: Pictures) -> bool:
        """Whether either number of theirs is larger than that of others, as far as both are known."""
        fuller = self.in_full is not None and others.in_full is not None and self.in_full > others.in_full
        return fuller or self.in_all > others.in_all


def check_replaceable(folder: Path, facts: ModelFacts, steps: int, pictures: Pictures, *, even_if_fewer: bool) -> None:
    """Refuses to replace numbers of more pictures by those of fewer, unless that is asked for.

    Those in full and all of them count each for itself: many of the cheap ones stand for none of the others.

    Args:
        folder: of the model.
        facts: of the model that is measured, with its own sampler.
        steps: of the grid.
        pictures: that are measured.
        even_if_fewer: whether it is asked for.

    Raises:
        InvalidArgumentError: the file has an entry of more pictures, or of more in full.
    """
    path, key = folder / CALIBRATION_FILE, (facts.samplers[0], steps)
    for entry in [] if even_if_fewer else _usable(path, facts.fingerprint):
        held = _pictures(entry)
        if _key(entry) == key and held.surpass(pictures):
            message = (
                f"{path} holds a calibration of {held} for {steps} steps of {key[0]}, which one of {pictures} would "
                "replace; --replace does that"
            )
            raise InvalidArgumentError.of("--pictures", message)


def write_calibration(
    folder: Path, facts: ModelFacts, calibration: Calibration, made: Mapping[str, Any], *, even_if_fewer: bool = False
) -> Path:
    """Puts an entry into the file, whole or not at all; the one of the same sampler and grid is replaced.

    Entries of other grids stay, if they are of the same weights and form.

    Args:
        folder: of the model.
        facts: of the model that was measured.
        calibration: the numbers.
        made: how they were measured, for people; ``IN_FULL`` is also read again before they are replaced.
        even_if_fewer: whether an entry of more pictures may be replaced.

    Returns:
        The file.

    Raises:
        InvalidArgumentError: the file has an entry of more pictures, and nobody asked for less; or it cannot be
            written.
    """
    path = folder / CALIBRATION_FILE
    entry = {"calibration": asdict(calibration), "made": dict(made)}
    check_replaceable(folder, facts, calibration.steps, _pictures(entry), even_if_fewer=even_if_fewer)
    others = [other for other in _entries_kept(path, facts.fingerprint) if _key(other) != _key(entry)]
    content = {
        "format": FORMAT,
        "fingerprint": facts.fingerprint,
        "family": facts.family,
        "entries": sorted([*others, entry], key=_key),
    }
    scratch = path.with_name(f"{path.name}.new")
    with written_into(folder):
        scratch.write_text(_to_json(content), encoding="utf-8")
        scratch.replace(path)
    return path


def with_calibration(facts: ModelFacts, folder: Path) -> ModelFacts:
    """A model's facts with what its folder says of its calibration.

    A file that cannot be used is told of and otherwise passed over: the model works without.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return facts
    try:
        calibrations = read_calibrations(path, facts.fingerprint)
    except CalibrationFileError as error:
        return _without(facts, path, str(error))
    return replace(facts, calibrations=calibrations)


def read_calibrations(path: Path, fingerprint: str) -> tuple[Calibration, ...]:
    """The calibrations in a file.

    Args:
        path: of the file.
        fingerprint: of the model's weights.

    Raises:
        CalibrationFileError: it means nothing, is of another format, or was made for other weights.
    """
    try:
        return tuple(_read(entry["calibration"]) for entry in _entries(path, fingerprint))
    except FigureError as error:
        raise CalibrationFileError(str(error)) from error
    except (ValueError, TypeError, KeyError, OverflowError, WireError) as error:
        raise CalibrationFileError(f"it cannot be read: {error!r}") from error


def _entries(path: Path, fingerprint: str) -> list[Mapping[str, Any]]:
    """Calibrations with the record of how each was made.

    Raises:
        CalibrationFileError: see ``read_calibrations``.
    """
    try:
        content = json.loads(read_text(path))
        if content["format"] != FORMAT:
            told = f"its format is {content['format']}, this version reads {FORMAT}; run polyrhythm calibrate"
            raise CalibrationFileError(told)
        if content["fingerprint"] != fingerprint:
            raise CalibrationFileError("it was made for other weights; run polyrhythm calibrate")
        return list(content["entries"])
    except OSError as error:
        raise CalibrationFileError(f"it cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise CalibrationFileError(f"it is no JSON: {error}") from error
    except RecursionError as error:
        raise CalibrationFileError("it cannot be read: it is nested too deeply") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CalibrationFileError(f"it cannot be read: {error!r}") from error


def _entries_kept(path: Path, fingerprint: str) -> list[Mapping[str, Any]]:
    """What a new entry leaves in place; a file that cannot be used is replaced as a whole, and the log tells."""
    if not path.is_file():
        return []
    try:
        return _readable_entries(path, fingerprint)
    except CalibrationFileError as error:
        log.warning("calibration file is replaced", file=str(path), reason=str(error))
        return []


def _usable(path: Path, fingerprint: str) -> list[Mapping[str, Any]]:
    """What a file holds for some weights; nothing where it cannot be used."""
    try:
        return _readable_entries(path, fingerprint)
    except CalibrationFileError:
        return []


def _readable_entries(path: Path, fingerprint: str) -> list[Mapping[str, Any]]:
    """Entries whose calibrations mean something, all of them.

    Raises:
        CalibrationFileError: see ``read_calibrations``.
    """
    read_calibrations(path, fingerprint)
    return _entries(path, fingerprint)


def _pictures(entry: Mapping[str, Any]) -> Pictures:
    made = entry.get("made")
    in_full = made.get(IN_FULL) if isinstance(made, Mapping) else None
    known = isinstance(in_full, int) and not isinstance(in_full, bool)
    return Pictures(in_all=_read(entry["calibration"]).pictures, in_full=in_full if known else None)


def _key(entry: Mapping[str, Any]) -> tuple[str, int]:
    return entry["calibration"]["sampler"], entry["calibration"]["steps"]


def _without(facts: ModelFacts, path: Path, reason: str) -> ModelFacts:
    """The facts with a notice, which reaches the user with every plan."""
    log.warning("calibration is not used", file=str(path), reason=reason)
    return replace(facts, notices=(*facts.notices, f"{path.name} of model {facts.name} is not used: {reason}"))


def _read(fields: Mapping[str, Any]) -> Calibration:
    """Lists become tuples again; everything else is checked by the type, and by what a message carries."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"a calibration is an object, not {type(fields).__name__}")
    for name, held in fields.items():
        if any(isinstance(value, bool) for value in (held if isinstance(held, list) else [held])):
            raise TypeError(f"{name} holds true or false, which is no number")  # and would pass for 1 or 0
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    calibration = Calibration(**{**values, "sampler": Sampler(values["sampler"])})
    CALIBRATION.from_proto(CALIBRATION.to_proto(calibration), "calibration")  # as the coordinator will
    return calibration


def _to_json(content: Mapping[str, Any]) -> str:
    """Numbers with as many digits as they are worth."""
    text = json.dumps(json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.6g}")), indent=1)
    return text + "\n"
