"""What lies in a model's folder after a calibration that was broken off."""

from __future__ import annotations

from pathlib import Path

from polyrhythm_agent.calibration.file import CALIBRATION_FILE
from polyrhythm_agent.calibration.partial import PartialFile


def leftovers(folder: Path) -> tuple[str, ...]:
    """Names of all files, one of which is there afterwards: the other two are on their way for a moment only."""
    PartialFile(folder, "dpmpp-2m-8", {"weights": "of a model"})
    (partial,) = folder.glob("calibration-*")
    return partial.name, f"{partial.name}.new", f"{CALIBRATION_FILE}.new"
