"""Plan time and simulated latency over the number of agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from scaling_study.fleets import Interconnect
from scaling_study.summary import FIRST_PLAN_AIM_S, REPLAN_AIM_S, SizeSummary

COLOURS = {Interconnect.FREE: "#6a9f58", Interconnect.SWITCH: "#4878a8", Interconnect.BUS: "#e49444"}


def plot(summary: Sequence[SizeSummary], path: Path) -> None:
    """Two panels: seconds of planning, and denoising against the fastest device alone."""
    figure = Figure(figsize=(11.0, 4.2), dpi=120, layout="constrained")
    planning, latency = figure.subplots(1, 2)
    for interconnect, colour in COLOURS.items():
        rows = sorted((row for row in summary if row.interconnect is interconnect), key=lambda row: row.agents)
        sizes = [row.agents for row in rows]
        planning.plot(
            sizes, [row.plan_s * 1e3 for row in rows], "o-", color=colour, label=f"first plan, {interconnect}"
        )
        planning.plot(
            sizes, [row.replan_s * 1e3 for row in rows], "s:", color=colour, label=f"re-plan, {interconnect}", alpha=0.8
        )
        latency.plot(sizes, [row.of_solo for row in rows], "o-", color=colour, label=f"links: {interconnect}")
    for aim_s, name in ((FIRST_PLAN_AIM_S, "aim: first plan of 64"), (REPLAN_AIM_S, "aim: re-plan of 64")):
        planning.axhline(aim_s * 1e3, color="#808080", linewidth=0.8, linestyle="--")
        planning.annotate(
            name, (2, aim_s * 1e3), textcoords="offset points", xytext=(0, 3), fontsize=7, color="#606060"
        )
    planning.set(xscale="log", yscale="log", xlabel="agents", ylabel="milliseconds", title="Planning (wall time)")
    latency.set(
        xscale="log",
        xlabel="agents",
        ylabel="of the fastest device alone",
        title="Simulated denoising time",
        ylim=(0, 1.05),
    )
    ticks = [2, 4, 8, 16, 32, 64]
    for axes in (planning, latency):
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.25)
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path)
