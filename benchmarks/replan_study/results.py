"""The result file and its page: one JSON document, written again after every round, and a table in markdown.

Owns the document's layout. Knows no formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latency_study.aims import Aim
from latency_study.table import markdown_aims, markdown_lines
from latency_study.variants import Measured
from result_document import earlier_document, write_document

from replan_study.campaign import Round
from replan_study.scenarios import Scenario
from replan_study.summary import ScenarioRow, WayRow, scenario_row_from_json, way_row_from_json

TITLE = "A load that appears while a picture is made"


class ReplanResults:
    """Collects the study. Whatever adds to it writes the file.

    Args:
        path: of the JSON file.
        machine: its record.
        settings: what the study was asked for, the seed included.
        resume: whether scenarios that the file holds already are kept.

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
            "scenarios": {},
            "rows": [],
            "ways": [],
            "aims": [],
            "not_run": {},
        }
        if resume and path.is_file():
            earlier = earlier_document(path, TITLE, settings)
            done = {row["scenario"] for row in earlier["rows"]}
            whole = {name: one for name, one in earlier["scenarios"].items() if name in done}
            self._document = {**earlier, "scenarios": whole, "aims": [], "not_run": {}}

    def holds(self, scenario: Scenario) -> bool:
        """Whether it was run before."""
        return any(row["scenario"] == scenario.name for row in self._document["rows"])

    @property
    def rows(self) -> tuple[ScenarioRow, ...]:
        """Of all scenarios so far."""
        return tuple(scenario_row_from_json(row) for row in self._document["rows"])

    def add_loaded(self, scenario: Scenario, loaded: Measured) -> None:
        """What the oracles know."""
        profiles = [asdict(profile) for profile in loaded.profiles]
        self._document["scenarios"][scenario.name] = {"loaded_profiles": profiles, "runs": []}
        self._write()

    def add_round(self, scenario: Scenario, one: Round) -> None:
        """What happened; pictures are compared, not kept."""
        runs = [{key: value for key, value in asdict(run).items() if key != "pixels_HW3"} for run in one.runs]
        self._document["scenarios"][scenario.name]["runs"] += runs
        self._write()

    def add_rows(self, row: ScenarioRow, ways: Sequence[WayRow]) -> None:
        """What comes of a scenario."""
        self._document["rows"].append(asdict(row))
        self._document["ways"] += [asdict(way) for way in ways]
        self._write()

    def leave_out(self, scenario: Scenario, reason: str) -> None:
        """Names a scenario that is not run."""
        self._document["not_run"][scenario.name] = reason
        self._write()

    def finish(self, aims: Sequence[Aim]) -> None:
        """Aims beside the truth."""
        self._document["aims"] = [asdict(aim) for aim in aims]
        self._write()

    def _write(self) -> None:
        write_document(self._path, self._document)


def page(document: Mapping[str, Any]) -> str:
    """The result in markdown."""
    rows = [scenario_row_from_json(row) for row in document["rows"]]
    ways = [way_row_from_json(row) for row in document["ways"]]
    left_out = [f"* not run: {name}: {reason}" for name, reason in document["not_run"].items()]
    settings = ", ".join(f"{name} {value}" for name, value in document["settings"].items())
    aims = [Aim(**aim) for aim in document["aims"]]
    parts = [
        f"# {document['title']}\n",
        "How each number is made: [METHODOLOGY.md](../METHODOLOGY.md).\n",
        f"{document['machine']['cpu_model']}, {document['machine']['cores']} cores; {settings}.\n",
        *(["\n".join(left_out) + "\n"] if left_out else []),
        "## Aims and truth\n",
        markdown_aims(aims),
        "## What re-planning is worth\n",
        _table(SCENARIO_HEADERS, [_scenario_texts(row) for row in rows]),
        "## All ways\n",
        _table(WAY_HEADERS, [_way_texts(row) for row in ways]),
    ]
    return "\n".join(parts)


SCENARIO_HEADERS = (
    "load", "/ no re-plan", "/ oracle at once", "/ faster oracle", "PSNR gain dB", "reaction steps", "reaction s",
    "planned anew",
)  # fmt: skip
WAY_HEADERS = ("load", "way", "denoise s, median [range]", "PSNR dB", "core share", "plans of the last round")


def _scenario_texts(row: ScenarioRow) -> tuple[str, ...]:
    return (
        row.scenario,
        f"{row.to_no_replan:.3f}",
        f"{row.to_at_once:.3f}",
        f"{row.to_oracle:.3f} ({row.oracle})",
        f"{row.psnr_gain_db:+.1f}",
        "-" if row.reaction_steps is None else f"{row.reaction_steps:.1f}",
        "-" if row.reaction_s is None else f"{row.reaction_s:.2f}",
        f"{row.replanned} of {row.rounds}",
    )


def _way_texts(row: WayRow) -> tuple[str, ...]:
    took = row.denoise_s
    early = f" ({row.not_loaded} done before the load)" if row.not_loaded else ""
    return (
        row.scenario,
        row.way,
        f"{took.median:.3f} [{took.low:.3f}, {took.high:.3f}]{early}",
        f"{row.psnr_db:.1f}",
        f"{row.core_share:.0%}",
        " then ".join(f"[{plan}]" for plan in row.plans),
    )


def _table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(headers)
    return markdown_lines((headers, rule, *lines))
