"""The one plot: latency, cut, utilisation, prediction error and quality. Colours and marks both tell variants apart.

Draws rows that are computed elsewhere. Colours: Okabe and Ito's set, made for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from latency_study.aims import CUT_TO_EQUAL, PREDICTION_ERROR_MEDIAN, PREDICTION_ERROR_WORST
from latency_study.summary import QualityRow, Row
from latency_study.variants import Variant

DOTS_PER_INCH = 130
GREY = "#666666"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a variant is drawn."""

    colour: str
    marker: str


LOOKS: Mapping[Variant, Look] = {
    Variant.SOLO: Look(colour="#000000", marker="_"),
    Variant.EQUAL: Look(colour="#D55E00", marker="s"),
    Variant.ROWS: Look(colour="#E69F00", marker="^"),
    Variant.FEWER_STEPS: Look(colour="#CC79A7", marker="v"),
    Variant.STRIDES: Look(colour="#56B4E9", marker="D"),
    Variant.UNCALIBRATED: Look(colour="#009E73", marker="P"),
    Variant.BALANCED: Look(colour="#0072B2", marker="o"),
    Variant.FAST: Look(colour="#999999", marker="X"),
}


def draw(path: Path, rows: Sequence[Row], qualities: Sequence[QualityRow], note: str) -> None:
    """Writes the plot as PNG.

    Args:
        path: of the file.
        rows: of the table.
        qualities: of the named pairs.
        note: about machine and settings, printed below the legend.
    """
    figure = Figure(figsize=(15, 15), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 3)
    panels = [[figure.add_subplot(grid[line, column]) for column in range(3)] for line in range(2)]
    pairs = [row for row in rows if row.is_pair]
    _latency(panels[0][0], pairs)
    _cut(panels[0][1], pairs)
    _utilisation(panels[0][2], pairs)
    _prediction(panels[1][0], rows)
    _quality(panels[1][1], rows, qualities)
    _legend(panels[1][2], note)
    _other_cases(figure.add_subplot(grid[2, :]), [row for row in rows if not row.is_pair])
    figure.suptitle(
        "One picture on unequal devices; upper panels by speed: two devices, the second emulated", fontsize=14
    )
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _other_cases(panel: Axes, rows: Sequence[Row]) -> None:
    """Loads, larger gangs, models, sizes and drawn fleets: every variant of every case."""
    panel.set_title("Denoising time / fastest device alone: loads, larger gangs, models, sizes, random fleets")
    names = list(dict.fromkeys(row.case for row in rows))
    for variant, look in LOOKS.items():
        ran = [row for row in rows if row.variant is variant]
        panel.plot(
            [names.index(row.case) for row in ran],
            [row.to_solo for row in ran],
            linestyle="none",
            color=look.colour,
            marker=look.marker,
            markersize=7,
        )
    panel.axhline(1.0, color=GREY, linewidth=0.8)
    panel.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=7)
    panel.set_ylim(bottom=0.0)
    panel.grid(visible=True, alpha=0.25)


def _by_speed(rows: Sequence[Row], variant: Variant) -> list[Row]:
    return sorted((row for row in rows if row.variant is variant), key=lambda row: row.slow_speed)


def _speed_axis(panel: Axes) -> None:
    panel.set_xlabel("speed of the slow device (fast device = 1)")
    panel.grid(visible=True, alpha=0.25)


def _latency(panel: Axes, rows: Sequence[Row]) -> None:
    panel.set_title("Denoising time / fastest device alone")
    for variant, look in LOOKS.items():
        ran = _by_speed(rows, variant)
        middle = [row.to_solo for row in ran]
        _line(
            panel,
            [row.slow_speed for row in ran],
            middle,
            low=[row.to_solo_paired.low for row in ran],
            high=[row.to_solo_paired.high for row in ran],
            look=look,
        )
    panel.set_yscale("log")
    ticks = (0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5)
    panel.yaxis.set_major_locator(FixedLocator(ticks))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _speed_axis(panel)


def _line(
    panel: Axes, x: Sequence[float], y: Sequence[float], *, low: Sequence[float], high: Sequence[float], look: Look
) -> None:
    """A line through medians with bars from lowest to highest round; a median of ratios may lie outside of them."""
    below = [max(0.0, middle - one) for middle, one in zip(y, low, strict=True)]
    above = [max(0.0, one - middle) for middle, one in zip(y, high, strict=True)]
    panel.errorbar(
        x, y, yerr=(below, above), color=look.colour, marker=look.marker, markersize=6, linewidth=1, elinewidth=1
    )


def _cut(panel: Axes, rows: Sequence[Row]) -> None:
    panel.set_title("Latency saved against equal patches")
    for variant in (Variant.ROWS, Variant.BALANCED):
        ran = _by_speed(rows, variant)
        x = [row.slow_speed for row in ran]
        look = LOOKS[variant]
        panel.plot(x, [1 - row.ideal_to_equal for row in ran], color=look.colour, linestyle="--", linewidth=1)
        _line(
            panel,
            x,
            [1 - row.to_equal for row in ran],
            low=[1 - row.to_equal_paired.high for row in ran],
            high=[1 - row.to_equal_paired.low for row in ran],
            look=look,
        )
    panel.plot(
        list(CUT_TO_EQUAL), list(CUT_TO_EQUAL.values()), linestyle="none", marker="*", markersize=13,
        markerfacecolor="white", markeredgecolor="black", zorder=5,
    )  # fmt: skip
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.legend(
        handles=[
            Line2D([], [], color=GREY, linewidth=1, label="measured (bars: rounds)"),
            Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="ideal: no fixed cost, free messages"),
            Line2D(
                [], [], linestyle="none", marker="*", markersize=12, markerfacecolor="white", markeredgecolor="black",
                label="aim for balanced",
            ),
        ],
        fontsize=9,
    )  # fmt: skip
    _speed_axis(panel)


def _utilisation(panel: Axes, rows: Sequence[Row]) -> None:
    panel.set_title("Utilisation: computing / (time × devices)")
    for variant, look in LOOKS.items():
        ran = _by_speed(rows, variant)
        _line(
            panel,
            [row.slow_speed for row in ran],
            [row.utilisation.median for row in ran],
            low=[row.utilisation.low for row in ran],
            high=[row.utilisation.high for row in ran],
            look=look,
        )
    panel.set_ylim(0.0, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _speed_axis(panel)


def _prediction(panel: Axes, rows: Sequence[Row]) -> None:
    panel.set_title("Prediction from an earlier process / measured - 1")
    for limit, shade in ((PREDICTION_ERROR_WORST, 0.10), (PREDICTION_ERROR_MEDIAN, 0.18)):
        panel.axhspan(-limit, limit, color=GREY, alpha=shade, linewidth=0)
    for place, (variant, look) in enumerate(LOOKS.items()):
        ran = _by_speed(rows, variant)
        # Side by side in order of speed, so that no point hides another.
        offsets = [(index / max(1, len(ran) - 1) - 0.5) * 0.7 for index in range(len(ran))]
        panel.plot(
            [place + offset for offset in offsets],
            [row.prediction_error for row in ran],
            linestyle="none",
            color=look.colour,
            marker=look.marker,
        )
    panel.axhline(0.0, color="black", linewidth=0.8)
    panel.set_xticks(
        range(len(LOOKS)), [variant.replace(" + ", " +\n").replace(" ", "\n") for variant in LOOKS], fontsize=7
    )
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_xlabel(
        f"one point a case, by speed; shaded: ±{PREDICTION_ERROR_MEDIAN:.0%}, ±{PREDICTION_ERROR_WORST:.0%}"
    )


def _quality(panel: Axes, rows: Sequence[Row], qualities: Sequence[QualityRow]) -> None:
    panel.set_title("Picture against the single device's")
    if not qualities:
        panel.text(0.5, 0.5, "not measured in this run", ha="center", va="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    latency = {(row.case, row.variant): row.to_solo for row in rows}
    cases = list(dict.fromkeys(one.case for one in qualities))
    for one in qualities:
        look = LOOKS[one.variant]
        panel.plot(
            latency[one.case, one.variant],
            one.quality.psnr_mean_db,
            linestyle="none",
            marker=look.marker,
            markersize=9,
            markeredgecolor=look.colour,
            markeredgewidth=1.5,
            markerfacecolor=look.colour if one.case == cases[0] else "white",
        )
    marks = ((GREY, cases[0]), ("white", cases[-1])) if len(cases) > 1 else ((GREY, cases[0]),)
    panel.legend(
        handles=[
            Line2D(
                [], [], linestyle="none", marker="o", markersize=8, markeredgecolor=GREY, markerfacecolor=fill,
                label=case,
            )
            for fill, case in marks
        ],
        fontsize=9,
    )  # fmt: skip
    panel.set_xlabel("denoising time / fastest device alone")
    panel.set_ylabel(f"mean PSNR over {qualities[0].quality.prompts} prompts (dB)")
    panel.margins(0.12)
    panel.grid(visible=True, alpha=0.25)


def _legend(panel: Axes, note: str) -> None:
    panel.set_axis_off()
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=8, linewidth=1, label=str(variant))
        for variant, look in LOOKS.items()
    ]
    panel.legend(handles=handles, loc="upper left", fontsize=12, frameon=False)
    panel.text(0.02, 0.02, note, fontsize=9, color=GREY, va="bottom", transform=panel.transAxes)


def note_of(document: Mapping[str, Any]) -> str:
    """Machine and settings in a few lines, as a plot shows them."""
    machine, settings = document["machine"], document["settings"]
    packages = machine["packages"]
    virtual = " (virtual)" if machine["virtual"] else ""
    memory_gib = machine["memory_bytes"] / 2**30
    return "\n".join(
        (
            f"{machine['cpu_model']}, {machine['cores']} cores{virtual}, {memory_gib:.0f} GiB",
            f"Linux {machine['kernel']}, {machine['python']}, torch {packages['torch']}",
            f"{settings['steps']} steps, {settings['sampler']} sampler, {settings['repetitions']} warm rounds",
            f"seed: {str(settings['seed'])[:12]}",
            "speeds below 1: emulated (sleeps after every block)",
        )
    )
