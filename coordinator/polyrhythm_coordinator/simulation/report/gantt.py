"""A simulation's timeline as a Gantt chart: one lane a device, what happened as lines across. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.process.roles import how_to_install
from polyrhythm_coordinator.simulation.engine.timeline import Activity, Mark, Occasion, Span
from polyrhythm_coordinator.simulation.report.outcome import Outcome

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
except ImportError:  # told by draw: whoever only reads this module needs no chart
    mpl = None

WIDTH_IN = 13.0
LANE_IN = 0.62
FRAME_IN = 2.1
LANE_HEIGHT = 0.62
LABEL_PT = 7.0
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}
"""Behind words that a line may cross."""
POINTS_AN_INCH = 72.0
CHARACTER_PT = 0.62 * LABEL_PT
"""Width of a character of a label, about."""

SEGMENT_COLOURS = ("#4878a8", "#e49444", "#6a9f58", "#a87c9f", "#d1615d", "#85b6b2", "#e7ca60", "#967662")
WAIT_COLOUR = "#ececec"
ENCODE_COLOUR = "#17becf"
DECODE_COLOUR = "#444444"
MARK_COLOURS = {
    Occasion.REPLAN: "#c02020",
    Occasion.TAKEOVER: "#c02020",
    Occasion.DEATH: "#000000",
    Occasion.LOAD: "#b8860b",
    Occasion.JOIN: "#1f7a1f",
    Occasion.DRAIN: "#6a3d9a",
}
"""Of the marks that are drawn; the others are in the JSON."""


class ChartUnavailableError(PolyrhythmError):
    """matplotlib is not installed."""


def draw(outcome: Outcome, path: Path) -> None:
    """Writes the chart as a PNG file.

    Raises:
        ChartUnavailableError: matplotlib is missing.
        InvalidArgumentError: the file cannot be written.
    """
    if mpl is None:
        raise ChartUnavailableError(f"the chart needs matplotlib: {how_to_install('simulate')}")
    lanes = {device.agent: index for index, device in enumerate(outcome.devices)}
    with mpl.rc_context({"font.size": 8, "hatch.linewidth": 0.4, "hatch.color": "#c4c4c4"}):
        figure = Figure(figsize=(WIDTH_IN, FRAME_IN + LANE_IN * len(lanes)), dpi=120, layout="constrained")
        axes = figure.subplots()
        colours = _segment_colours(outcome.spans)
        for span in outcome.spans:
            _draw_span(axes, span, lanes[span.agent], colours)
        _label_segments(axes, outcome, lanes)
        _draw_marks(axes, outcome.marks, lanes)
        _frame(axes, outcome, lanes, colours)
        try:
            figure.savefig(path, format="png")
        except OSError as error:
            raise InvalidArgumentError.of("gantt", f"{path} cannot be written: {error.strerror}") from error


def _segment_colours(spans: tuple[Span, ...]) -> dict[int, str]:
    """A colour for each segment, by the step at which it begins."""
    begins = sorted({span.segment for span in spans if span.activity is Activity.COMPUTE})
    return {step: SEGMENT_COLOURS[index % len(SEGMENT_COLOURS)] for index, step in enumerate(begins)}


def _draw_span(axes: Any, span: Span, lane: int, colours: dict[int, str]) -> None:
    box = {"y": lane, "width": span.end_s - span.begin_s, "left": span.begin_s, "height": LANE_HEIGHT}
    match span.activity:
        case Activity.COMPUTE:
            axes.barh(**box, color=colours[span.segment], edgecolor="white", linewidth=0.4)
        case Activity.WAIT:
            axes.barh(**box, color=WAIT_COLOUR, hatch="////", linewidth=0, zorder=0.5)
        case Activity.ENCODE:
            axes.barh(**box, color=ENCODE_COLOUR, linewidth=0)
        case Activity.DECODE:
            axes.barh(**box, color=DECODE_COLOUR, linewidth=0)


def _label_segments(axes: Any, outcome: Outcome, lanes: dict[AgentId, int]) -> None:
    """Rows and stride, once for each stretch in which a device holds the same rows; left out where they do not fit."""
    points_a_second = (WIDTH_IN - 1.6) * POINTS_AN_INCH / max(outcome.total_s, 1e-9)
    for agent, lane in lanes.items():
        own = [span for span in outcome.spans if span.agent == agent and span.activity is Activity.COMPUTE]
        for stretch in _stretches(own):
            first, last = stretch[0], stretch[-1]
            text = f"rows {first.rows[0]}–{first.rows[1]}"
            if first.stride > 1:
                text += f", every {first.stride}."
            width_pt = (last.end_s - first.begin_s) * points_a_second
            shown = next(
                (held for held in (text, text.removeprefix("rows ")) if len(held) * CHARACTER_PT < width_pt), ""
            )
            axes.text(
                (first.begin_s + last.end_s) / 2,
                lane - LANE_HEIGHT / 2 - 0.03,
                shown,
                ha="center",
                va="bottom",
                fontsize=LABEL_PT,
            )


def _stretches(spans: list[Span]) -> list[list[Span]]:
    """Steps in a row with the same rows and stride in the same segment."""
    found: list[list[Span]] = []
    for span in spans:
        if found and (span.segment, span.rows, span.stride) == _held(found[-1][-1]) and span.step > found[-1][-1].step:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _held(span: Span) -> tuple[int, tuple[int, int], int]:
    return span.segment, span.rows, span.stride


def _draw_marks(axes: Any, marks: tuple[Mark, ...], lanes: dict[AgentId, int]) -> None:
    """A line across all lanes, or across the lane of the device that it concerns; words at the top, or in the lane."""
    height = 0
    for mark in marks:
        colour = MARK_COLOURS.get(mark.occasion)
        if colour is None or (mark.occasion is Occasion.LOAD and mark.at_s == 0):
            continue
        if mark.agent:
            lane = lanes[AgentId(mark.agent)]
            axes.plot([mark.at_s] * 2, [lane - 0.5, lane + 0.5], color=colour, linewidth=1.6, zorder=4)
            axes.text(
                mark.at_s,
                lane + 0.46,
                f" {mark.text}",
                color=colour,
                fontsize=LABEL_PT,
                va="center",
                ha="left",
                zorder=5,
                bbox=PAPER,
            )
        else:
            axes.axvline(mark.at_s, color=colour, linewidth=1.2, linestyle="--", zorder=4)
            # Two that are near each other must not be written over each other.
            axes.text(
                mark.at_s, -0.72 - 0.22 * (height % 2), f" {mark.text}", color=colour, fontsize=LABEL_PT, va="center"
            )
            height += 1


def _frame(axes: Any, outcome: Outcome, lanes: dict[AgentId, int], colours: dict[int, str]) -> None:
    image = outcome.image
    axes.set_ylim(len(lanes) - 0.4, -1.1)
    axes.set_xlim(0, outcome.total_s * 1.01)
    axes.set_yticks(
        list(lanes.values()), [f"{device.agent}\n{device.utilisation:.0%} busy" for device in outcome.devices]
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("virtual seconds since the request")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    pictures = "a picture" if outcome.count == 1 else f"{outcome.count} pictures"
    axes.set_title(
        f"Simulated: {pictures} of {image.width_px}x{image.height_px} px, {image.steps} steps, {image.quality}: "
        f"{outcome.total_s:.3f} s" + (f" (failed: {outcome.error})" if outcome.error else ""),
        loc="left",
    )
    legend = [Patch(color=colour, label=f"steps from {step}") for step, colour in colours.items()]
    legend += [
        Patch(facecolor=WAIT_COLOUR, hatch="////", label="waiting"),
        Patch(color=ENCODE_COLOUR, label="encoding"),
        Patch(color=DECODE_COLOUR, label="decoding"),
    ]
    axes.legend(
        handles=legend,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16 if len(lanes) < 6 else -0.08),
        ncols=8,
        frameon=False,
    )
