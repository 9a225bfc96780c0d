"""How well a quality was predicted, and how well a budget was kept. Pure; formulas are in METHODOLOGY.md.

Shape letters: P pictures, C cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quality_study.cases import DISPLACED, RANDOM

Array = NDArray[np.float64]

LOW_QUANTILE = 0.1
IDENTICAL_DB = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One case after measuring.

    Attributes:
        steps: of its pictures.
        kind: of the case.
        devices: of its fleet.
        predicted_db: mean over pictures; None where nothing was known.
        predicted_low_db: tenth percentile over pictures, likewise.
        measured_db_P: of each picture.
        reference_db_P: of plain displaced parallelism on the same pictures; None where nothing is held against it.
        loss_db: the budget.
    """

    steps: int
    kind: str
    devices: int
    predicted_db: float | None
    predicted_low_db: float | None
    measured_db_P: Array
    reference_db_P: Array | None
    loss_db: float | None

    @property
    def is_disturbed(self) -> bool:
        """Whether its pictures are not just those of a single device."""
        return float(self.measured_db_P.mean()) < IDENTICAL_DB

    @property
    def error_db(self) -> float | None:
        """Predicted less measured mean; None where nothing was predicted, or nothing disturbs the picture."""
        if self.predicted_db is None or not self.is_disturbed:
            return None
        return self.predicted_db - float(self.measured_db_P.mean())

    @property
    def low_error_db(self) -> float | None:
        """The same of the tenth percentile."""
        if self.error_db is None or self.predicted_low_db is None:
            return None
        return self.predicted_low_db - float(np.quantile(self.measured_db_P, LOW_QUANTILE))

    @property
    def overrun_db(self) -> float | None:
        """Measured mean loss against plain displaced parallelism, beyond the budget; below zero where it was kept."""
        if self.reference_db_P is None or self.loss_db is None or not self.is_disturbed:
            return None
        return float(self.reference_db_P.mean() - self.measured_db_P.mean()) - self.loss_db

    @property
    def low_overrun_db(self) -> float | None:
        """The same between the tenth percentiles."""
        if self.reference_db_P is None or self.loss_db is None or not self.is_disturbed:
            return None
        low = [float(np.quantile(db_P, LOW_QUANTILE)) for db_P in (self.reference_db_P, self.measured_db_P)]
        return low[0] - low[1] - self.loss_db


def table(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """A row for each length and kind, and one for all lengths."""
    rows = []
    lengths = sorted({one.steps for one in scored})
    for kind in ("balanced", "fast", DISPLACED, RANDOM):
        for steps in [*lengths, None]:
            chosen = [one for one in scored if one.kind == kind and steps in (one.steps, None)]
            if chosen:
                rows.append({"kind": kind, "steps": steps or "all", **_row(chosen)})
    return rows


def by_devices(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """The same for each number of devices of what the planner chose."""
    rows = []
    for kind in ("balanced", "fast"):
        for devices in sorted({one.devices for one in scored}):
            chosen = [one for one in scored if (one.kind, one.devices) == (kind, devices)]
            if chosen:
                rows.append({"kind": kind, "devices": devices, **_row(chosen)})
    return rows


def _row(scored: Sequence[Scored]) -> Mapping[str, Any]:
    errors, low_errors = _present(one.error_db for one in scored), _present(one.low_error_db for one in scored)
    overruns, low_overruns = _present(one.overrun_db for one in scored), _present(one.low_overrun_db for one in scored)
    spread = [
        one.measured_db_P.std(ddof=1) / len(one.measured_db_P) ** 0.5 for one in scored if len(one.measured_db_P) > 1
    ]
    return {
        "cases": len(scored),
        "predicted": len(errors),
        "mean_error_db": _mean(errors),
        "mean_absolute_error_db": _mean([abs(error) for error in errors]),
        "low_mean_error_db": _mean(low_errors),
        "overrun_max_db": round(max(overruns), 2) if overruns else None,
        "overrun_mean_db": _mean(overruns),
        "low_overrun_max_db": round(max(low_overruns), 2) if low_overruns else None,
        "standard_error_db": _mean([float(value) for value in spread]),
    }


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 2) if values else None
