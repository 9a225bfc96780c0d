"""The result file: one JSON document, written again after every step, so that predictions lie on disk before the runs.

Owns the document's layout. Knows no formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from result_document import earlier_document, read_document, write_document

from latency_study.aims import Aim
from latency_study.cases import Case
from latency_study.summary import QualityRow, Row, Run, quality_from_json, row_from_json
from latency_study.variants import Measured, PlannedVariant, Variant, describe

TITLE = "Denoising one picture on unequal devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseQuality:
    """What the pictures of one case are worth.

    Attributes:
        rows: a plan each.
        compared: pictures made both at emulated speeds and running freely.
        identical: of these, pictures with the same pixels.
    """

    rows: tuple[QualityRow, ...]
    compared: int
    identical: int


class ResultFile:
    """Collects the study. Whatever adds to it writes the file.

    Args:
        path: of the JSON file.
        machine: its record.
        settings: what the study was asked for, the seed included.
        resume: whether cases that the file holds already are kept; else it begins anew.

    Raises:
        OtherSettingsError: an earlier result of other settings is to be resumed.
        ValueError: what is to be resumed is no result of this study.
    """

    def __init__(
        self, path: Path, *, machine: Mapping[str, object], settings: Mapping[str, object], resume: bool = False
    ) -> None:
        self._path = path
        self._document: dict[str, Any] = {
            "title": TITLE,
            "machine": dict(machine),
            "settings": dict(settings),
            "begun_at": _now(),
            "resumed_at": [],
            "aims": [],
            "summary": [],
            "quality": [],
            "pictures_compared_across_speeds": None,
            "not_run": {},
            "cases": {},
        }
        if resume and path.is_file():
            self._resume()

    def _resume(self) -> None:
        document = earlier_document(self._path, TITLE, self._document["settings"])
        whole = {name: case for name, case in document["cases"].items() if "ran_until" in case}
        resumed_at = [*document["resumed_at"], {"at": _now(), "machine": self._document["machine"]}]
        self._document = {**document, "cases": whole, "not_run": {}, "aims": [], "resumed_at": resumed_at}

    def holds(self, case: Case) -> bool:
        """Whether a case was run before."""
        return case.name in self._cases

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all cases so far."""
        return tuple(row_from_json(row) for row in self._document["summary"])

    @property
    def qualities(self) -> tuple[QualityRow, ...]:
        """Of all cases so far."""
        return tuple(quality_from_json(one) for one in self._document["quality"])

    def add_predictions(
        self,
        case: Case,
        measured: Measured,
        planned: Mapping[Variant, PlannedVariant],
        ideal_s: Mapping[Variant, float],
    ) -> None:
        """What is known of a case before its variants run."""
        self._cases[case.name] = {
            "case": asdict(case),
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

    def add_case(self, case: Case, runs: Sequence[Run], rows: Sequence[Row], quality: CaseQuality | None) -> None:
        """What happened, the rows of the table that it makes, and what the pictures are worth."""
        self._cases[case.name] |= {"runs": [asdict(run) for run in runs], "ran_until": _now()}
        self._document["summary"] += [asdict(row) for row in rows]
        if quality is not None:
            self._document["quality"] += [asdict(one) for one in quality.rows]
            before = self._document["pictures_compared_across_speeds"] or {"compared": 0, "identical": 0}
            self._document["pictures_compared_across_speeds"] = {
                "compared": before["compared"] + quality.compared,
                "identical": before["identical"] + quality.identical,
            }
        self._write()

    def leave_out(self, case: Case, reason: str) -> None:
        """Names a case that is not run."""
        self._document["not_run"][case.name] = reason
        self._write()

    def finish(self, aims: Sequence[Aim]) -> None:
        """Aims beside the truth."""
        self._document["aims"] = [asdict(aim) for aim in aims]
        self._document["ended_at"] = _now()
        self._write()

    @property
    def _cases(self) -> dict[str, Any]:
        return self._document["cases"]

    def _write(self) -> None:
        write_document(self._path, self._document)


def read_summary(path: Path) -> tuple[dict[str, Any], tuple[Row, ...], tuple[QualityRow, ...]]:
    """A result file's document, its rows and its qualities, for showing it again.

    Raises:
        OSError: there is no such file.
        ValueError: it is no result file of this study.
    """
    document = read_document(path, TITLE)
    return (
        document,
        tuple(row_from_json(row) for row in document["summary"]),
        tuple(quality_from_json(one) for one in document["quality"]),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
