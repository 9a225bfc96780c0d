"""The result file: one JSON document, written again after every step, so that predictions lie on disk before the runs.

Owns the document's layout. Knows no formula.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latency_study.aims import Aim
from latency_study.pairs import SpeedPair
from latency_study.summary import QualityRow, Row, Run, quality_from_json, row_from_json
from latency_study.variants import Measured, PlannedVariant, Variant, describe

TITLE = "Denoising one picture on two unequal devices; the second device's speed is emulated"


class ResultFile:
    """Collects the study. Every ``add`` writes the file.

    Args:
        path: of the JSON file.
        machine: its record.
        settings: what the study was asked for, the seed included.
    """

    def __init__(self, path: Path, *, machine: Mapping[str, object], settings: Mapping[str, object]) -> None:
        self._path = path
        self._pairs: dict[str, dict[str, Any]] = {}
        self._document: dict[str, Any] = {
            "title": TITLE,
            "machine": dict(machine),
            "settings": dict(settings),
            "begun_at": _now(),
            "aims": [],
            "summary": [],
            "quality": [],
            "pictures_compared_across_speeds": None,
        }

    def add_predictions(
        self,
        pair: SpeedPair,
        measured: Measured,
        planned: Mapping[Variant, PlannedVariant],
        ideal_s: Mapping[Variant, float],
    ) -> None:
        """What is known of a pair before its variants run."""
        self._pairs[pair.name] = {
            "speeds": pair.speeds,
            "drawn": pair.drawn,
            "profiles": [asdict(profile) for profile in measured.profiles],
            "links": [
                {"sender": sender, "receiver": receiver, **asdict(link)}
                for (sender, receiver), link in measured.links.items()
            ],
            "variants": {
                variant: {
                    "rows": describe(one.plan),
                    "plan": asdict(one.plan),
                    "prediction": asdict(one.prediction),
                    "ideal_in_rows_of_the_fastest": ideal_s[variant],
                }
                for variant, one in planned.items()
            },
            "predicted_at": _now(),
        }
        self._write()

    def add_runs(self, pair: SpeedPair, runs: Sequence[Run], rows: Sequence[Row]) -> None:
        """What happened, and the rows of the table that it makes."""
        self._pairs[pair.name] |= {"runs": [asdict(run) for run in runs], "ran_until": _now()}
        self._document["summary"] += [asdict(row) for row in rows]
        self._write()

    def add_quality(self, qualities: Sequence[QualityRow], *, compared: int, identical: int) -> None:
        """What the pictures are worth.

        Args:
            qualities: a plan each.
            compared: pictures made both at emulated speeds and running freely.
            identical: of these, pictures with the same pixels.
        """
        self._document["quality"] = [asdict(one) for one in qualities]
        self._document["pictures_compared_across_speeds"] = {"compared": compared, "identical": identical}
        self._write()

    def finish(self, aims: Sequence[Aim]) -> None:
        """Aims beside the truth."""
        self._document["aims"] = [asdict(aim) for aim in aims]
        self._document["ended_at"] = _now()
        self._write()

    def _write(self) -> None:
        text = json.dumps({**self._document, "pairs": self._pairs}, indent=1, allow_nan=False)
        scratch = self._path.with_suffix(".json.new")
        scratch.write_text(text + "\n", encoding="utf-8")
        os.replace(scratch, self._path)


def read_summary(path: Path) -> tuple[dict[str, Any], tuple[Row, ...], tuple[QualityRow, ...]]:
    """A result file's document, its rows and its qualities, for showing it again.

    Raises:
        OSError: there is no such file.
        ValueError: it is no result file of this study.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("title") != TITLE:
        raise ValueError(f"{path} is no result file of this study")
    return (
        document,
        tuple(row_from_json(row) for row in document["summary"]),
        tuple(quality_from_json(one) for one in document["quality"]),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
