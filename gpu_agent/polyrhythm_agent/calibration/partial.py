"""What a calibration has measured so far, beside the model: one that was broken off goes on from there. No torch.

One line of JSON a picture, after a line that says what is measured; lines of anything else count for nothing. A hash of
that line is in the file's name, so that what was measured of another subject (weights, arithmetic, versions) stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from polyrhythm_agent.calibration.folder import written_into
from polyrhythm_agent.calibration.measure import PictureErrors, Single
from polyrhythm_agent.model_files.folder_text import read_text

log = structlog.get_logger()

SUFFIX = ".partial"
BYTES_MAX = 4 << 30
"""More than the largest number of pictures take, on the largest grid."""
DIGITS = 8
"""Of the hash in the name; the file's first line has all of the subject."""


class PartialFile:
    """Pictures that were measured, as they come.

    Args:
        folder: of the model.
        name: of what is measured, for people who see the file.
        subject: what is measured, and how: pictures of another subject are in a file of their own.

    Raises:
        InvalidArgumentError: nothing can be written there.
    """

    def __init__(self, folder: Path, name: str, subject: Mapping[str, Any]) -> None:
        self._subject = json.loads(json.dumps(subject))
        digest = hashlib.sha256(json.dumps(self._subject, sort_keys=True).encode()).hexdigest()[:DIGITS]
        self._path = folder / f"calibration-{name}-{digest}{SUFFIX}"
        self._tell_of_others(folder, name)
        with written_into(folder):
            lines = self._read()
            # Anew in any case: a last line may be cut off, and what cannot be written is told before the work.
            fresh = self._path.with_name(f"{self._path.name}.new")
            _write(fresh, {"subject": self._subject}, *lines)
            fresh.replace(self._path)
        self._measured = {_name(line["picture"]): _from_json(line["errors"]) for line in lines}

    def get(self, picture: Mapping[str, Any]) -> PictureErrors | None:
        """What a picture said, or None where it was not measured yet."""
        return self._measured.get(_name(picture))

    def keep(self, picture: Mapping[str, Any], errors: PictureErrors) -> None:
        """Adds one.

        Raises:
            InvalidArgumentError: it cannot be written.
        """
        with written_into(self._path.parent):
            _write(self._path, {"picture": dict(picture), "errors": _to_json(errors)}, mode="a")

    def remove(self) -> None:
        """Ends the file: its pictures are in the calibration."""
        self._path.unlink(missing_ok=True)

    def _tell_of_others(self, folder: Path, name: str) -> None:
        """Else somebody who updated something in between would wonder why nothing goes on."""
        others = sorted(file.name for file in folder.glob(f"calibration-{name}-*{SUFFIX}") if file != self._path)
        if others:
            log.info(
                "unfinished measurements of other weights, arithmetic or versions are left as they are", files=others
            )

    def _read(self) -> list[dict[str, Any]]:
        """Lines of pictures of the same subject."""
        if not self._path.is_file():
            return []
        lines = read_text(self._path, errors="replace", bytes_max=BYTES_MAX).splitlines(keepends=True)
        try:
            if json.loads(lines[0])["subject"] != self._subject:
                return []
            found = [json.loads(line) for line in lines[1:] if line.endswith("\n")]
            for line in found:
                _from_json(line["errors"])
                _name(line["picture"])
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            log.warning(
                "measured pictures cannot be read and are measured again", file=str(self._path), why=repr(error)
            )
            return []
        return found


def _write(path: Path, *lines: Mapping[str, Any], mode: str = "w") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _name(picture: Mapping[str, Any]) -> str:
    return json.dumps(dict(picture), sort_keys=True)


def _to_json(errors: PictureErrors) -> dict[str, Any]:
    single = errors.single
    return {
        "low": errors.low,
        "high": errors.high,
        "joints": [None if np.isnan(value) else value for value in errors.joint_mse_J.tolist()],
        "products": None if single is None else single.products_DD.tolist(),
        "rows": None if single is None else single.energy_R.tolist(),
    }


def _from_json(fields: Mapping[str, Any]) -> PictureErrors:
    single = None
    if fields["products"] is not None:
        single = Single(products_DD=np.array(fields["products"]), energy_R=np.array(fields["rows"]))
    return PictureErrors(
        single=single,
        joint_mse_J=np.array([np.nan if value is None else value for value in fields["joints"]], dtype=np.float64),
        low=float(fields["low"]),
        high=float(fields["high"]),
    )
