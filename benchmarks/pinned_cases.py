"""Starts the fleet of a case on the cores of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet import pinned_fleet
from latency_study.campaign import PictureMaker
from latency_study.cases import Case


@asynccontextmanager
async def open_pinned_fleet(case: Case) -> AsyncIterator[PictureMaker]:
    """Starts the fleet of a case."""
    async with pinned_fleet(case.speeds, case.model, load=case.load) as fleet:
        yield fleet
