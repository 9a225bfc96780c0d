"""The one table, as markdown and for a terminal. Owns how numbers are written; computes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.table import Table

from latency_study.aims import Aim
from latency_study.summary import QualityRow, Row
from latency_study.variants import Variant

HEADERS = (
    "case",
    "variant",
    "steps",
    "rows of each device (/2: stride 2)",
    "denoise s, median [range]",
    "predicted s (error)",
    "/ equal",
    "/ solo",
    "busy",
    "members busy",
    "wait s",
    "core wait s",
    "core share",
    "sent MB",
    "PSNR dB",
    "SSIM",
)
LEFT_COLUMNS = frozenset({0, 1, 3})
NOT_COMPARED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """One line of the table, and whether a new case begins with it."""

    texts: tuple[str, ...]
    begins_case: bool


def cells(rows: Sequence[Row], qualities: Sequence[QualityRow]) -> tuple[Cells, ...]:
    """All lines, in the order of the rows."""
    quality = {(one.case, one.variant): one for one in qualities}
    lines: list[Cells] = []
    for _, group in groupby(rows, key=lambda row: row.case):
        for index, row in enumerate(group):
            lines.append(Cells(texts=_texts(row, quality), begins_case=index == 0))
    return tuple(lines)


def _texts(row: Row, quality: Mapping[tuple[str, Variant], QualityRow]) -> tuple[str, ...]:
    compared = quality.get((row.case, row.variant))
    took = row.denoise_s
    return (
        row.case,
        row.variant,
        str(row.steps),
        row.plan,
        f"{took.median:.3f} [{took.low:.3f}, {took.high:.3f}]",
        f"{row.predicted_s:.3f} ({row.prediction_error:+.1%})",
        f"{row.to_equal:.3f}",
        f"{row.to_solo:.3f}",
        f"{row.utilisation.median:.0%}",
        f"{row.member_utilisation.median:.0%}",
        " / ".join(f"{seconds:.2f}" for seconds in row.wait_s),
        f"{row.core_wait_s:.2f}",
        " / ".join(f"{share:.0%}" for share in row.core_shares),
        f"{row.sent_bytes / 1e6:.1f}" + ("" if row.bytes_as_predicted else " (not as predicted)"),
        f"{compared.quality.psnr_mean_db:.1f}" if compared else NOT_COMPARED,
        f"{compared.quality.ssim_mean:.4f}" if compared else NOT_COMPARED,
    )


def markdown_table(rows: Sequence[Row], qualities: Sequence[QualityRow]) -> str:
    """The table in markdown."""
    rule = ["---" if index in LEFT_COLUMNS else "---:" for index in range(len(HEADERS))]
    lines = [HEADERS, rule, *(line.texts for line in cells(rows, qualities))]
    return markdown_lines(lines)


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """A table in markdown: its header, its rule and all its lines, cell by cell."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def markdown_aims(aims: Sequence[Aim]) -> str:
    """Aims beside the truth, in markdown."""
    lines = ["| what | aim | measured | met |", "| --- | --- | --- | --- |"]
    lines += [f"| {aim.what} | {aim.aim} | {aim.measured} | {'yes' if aim.met else 'no'} |" for aim in aims]
    return "\n".join(lines) + "\n"


def terminal_table(rows: Sequence[Row], qualities: Sequence[QualityRow]) -> Table:
    """The table for a terminal, without the columns that are too wide for one."""
    wide = {HEADERS.index(header) for header in ("rows of each device (/2: stride 2)", "wait s", "sent MB")}
    table = Table(
        title="Denoising one picture on unequal devices",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, header in enumerate(HEADERS):
        if index not in wide:
            table.add_column(header, justify="left" if index in LEFT_COLUMNS else "right", no_wrap=True)
    for number, line in enumerate(cells(rows, qualities)):
        if line.begins_case and number:
            table.add_section()
        table.add_row(*(text for index, text in enumerate(line.texts) if index not in wide))
    return table


def terminal_aims(aims: Sequence[Aim]) -> Table:
    """Aims beside the truth, for a terminal."""
    table = Table(title="Aims and truth", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("what", "aim", "measured", "met"):
        table.add_column(header)
    for aim in aims:
        table.add_row(aim.what, aim.aim, aim.measured, "yes" if aim.met else "[bold]no[/bold]")
    return table
