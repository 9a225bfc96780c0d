"""Starts the fleet of a case on the cores of this machine, with the repository's models by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fleet import pinned_fleet
from latency_study.campaign import PictureMaker
from latency_study.cases import Case

MODELS = Path(__file__).resolve().parents[1] / "models"


def model_source(model: str) -> str:
    """What an agent is started with: one of the repository's models by name, or a folder as it is."""
    folder = MODELS / model
    return str(folder) if folder.is_dir() else model


@asynccontextmanager
async def open_pinned_fleet(case: Case) -> AsyncIterator[PictureMaker]:
    """Starts the fleet of a case."""
    async with pinned_fleet(case.speeds, model_source(case.model), load=case.load) as fleet:
        yield fleet
