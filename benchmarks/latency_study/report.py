"""The markdown page of a result: what was run, aims beside the truth, the table, the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_study.aims import Aim
from latency_study.plot import note_of
from latency_study.summary import QualityRow, Row
from latency_study.table import markdown_aims, markdown_table

EXPLANATION = (
    "How each number is made: [METHODOLOGY.md](../METHODOLOGY.md). Speeds below 1 are emulated: such a "
    "device sleeps after every block. A load is another process on a device's core.\n"
)


def write_markdown(
    path: Path, document: Mapping[str, Any], rows: Sequence[Row], qualities: Sequence[QualityRow], aims: Sequence[Aim]
) -> None:
    """Writes the page; the plot is expected beside it under the same name."""
    parts = [
        f"# {document['title']}\n",
        EXPLANATION,
        "\n".join(f"* {line}" for line in note_of(document).splitlines()) + "\n",
        "## Aims and truth\n",
        markdown_aims(aims),
        _not_run(document),
        _discarded(document),
        _pictures(document),
        f"![latency, cut, utilisation, prediction error and quality]({path.stem}.png)\n",
        "## All variants of all cases\n",
        markdown_table(rows, qualities),
    ]
    path.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _discarded(document: Mapping[str, Any]) -> str:
    """Says which attempts do not count, so that none is dropped in silence."""
    found = [
        f"* {name}, {run['variant']}, round {run['round_index'] + 1}: {reason}"
        for name, case in document["cases"].items()
        for run in case.get("runs", [])
        for reason in run["discarded"]
    ]
    return "\n".join(["Attempts that followed another plan and were made again:\n", *found, ""]) if found else ""


def _not_run(document: Mapping[str, Any]) -> str:
    """Says which cases were left out, so that none is dropped in silence."""
    begun = [name for name, case in document["cases"].items() if "ran_until" not in case]
    found = [f"* {name}: {reason}" for name, reason in document["not_run"].items()]
    found += [f"* {name}: the run ended in the middle of it" for name in begun]
    return "\n".join(["Cases that were not run:\n", *found, ""]) if found else ""


def _pictures(document: Mapping[str, Any]) -> str:
    compared = document["pictures_compared_across_speeds"]
    if compared is None:
        return ""
    return (
        f"{compared['identical']} of {compared['compared']} pictures made at emulated speeds have the same pixels as "
        "the picture of the same plan and seed on devices that run freely.\n"
    )
