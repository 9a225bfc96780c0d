"""The plot of the quality benchmark: decibels of each plan, whole picture and regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

REGIONS = ("whole", "fast", "slow", "seam")


def draw(table: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """One group of bars a plan; a region that a plan has not is left out."""
    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    names = list(table)
    for index, region in enumerate(REGIONS):
        points = [(place, table[name]["psnr_db"][region]) for place, name in enumerate(names)]
        shown = [(place, value) for place, value in points if value is not None]
        axes.bar(
            [place + (index - 1.5) * 0.2 for place, _ in shown],
            [value for _, value in shown],
            width=0.2,
            label="whole picture" if region == "whole" else f"{region} rows" if region != "seam" else "seam band",
        )
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=8)
    axes.set_ylabel("PSNR to the single-device picture, dB")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=len(REGIONS), fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
