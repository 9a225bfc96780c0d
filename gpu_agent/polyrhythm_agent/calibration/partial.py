"""What a calibration has measured so far, beside the model: one that was broken off goes on from there. No torch.

One line of JSON a picture, after a line that says what is measured; lines of anything else count for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from polyrhythm_agent.calibration.measure import PictureErrors, Single

log = structlog.get_logger()


class PartialFile:
    """Pictures that were measured, as they come.

    Args:
        path: of the file.
        subject: what is measured, and how: pictures of another subject do not count.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, path: Path, subject: Mapping[str, Any]) -> None:
        self._path = path
        self._subject = json.loads(json.dumps(subject))
        lines = self._read()
        self._measured = {_name(line["picture"]): _from_json(line["errors"]) for line in lines}
        # Anew in any case: a last line may be cut off, and that a folder cannot be written is told before the work.
        self._write({"subject": self._subject}, *lines, mode="w")

    def get(self, picture: Mapping[str, Any]) -> PictureErrors | None:
        """What a picture said, or None where it was not measured yet."""
        return self._measured.get(_name(picture))

    def keep(self, picture: Mapping[str, Any], errors: PictureErrors) -> None:
        """Adds one.

        Raises:
            OSError: it cannot be written.
        """
        self._write({"picture": dict(picture), "errors": _to_json(errors)}, mode="a")

    def remove(self) -> None:
        """Ends the file: its pictures are in the calibration."""
        self._path.unlink(missing_ok=True)

    def _write(self, *lines: Mapping[str, Any], mode: str) -> None:
        with self._path.open(mode, encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def _read(self) -> list[dict[str, Any]]:
        """Lines of pictures of the same subject."""
        if not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        try:
            if json.loads(lines[0])["subject"] != self._subject:
                return []
            found = [json.loads(line) for line in lines[1:] if line.endswith("\n")]
            for line in found:
                _from_json(line["errors"])
                _name(line["picture"])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.warning(
                "measured pictures cannot be read and are measured again", file=str(self._path), why=repr(error)
            )
            return []
        return found


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
