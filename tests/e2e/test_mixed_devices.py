"""Real processes that compute in two dtypes: they make a picture together, and an exact one apart."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned, JobEvent
from polyrhythm.job.image import Overrides, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_client import AsyncClient
from tests.e2e.pictures import MODEL, halves, pixels, request, simulated
from tests.e2e.processes import FAST, HurtableFleet

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

OLD, NEW = FAST, AgentId("new")
STEPS = 8
PSNR_MIN_DB = 40.0
"""Of the mixed picture against the simulator's in fp32; measured: 49.5 dB."""
HALVES = halves(OLD, NEW, (Exchange.SYNCHRONOUS, 4), (Exchange.DISPLACED, STEPS))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mixed(fleet: HurtableFleet) -> AsyncGenerator[HurtableFleet]:
    """The fleet, which computes in fp32, and beside it an agent that does not."""
    async with fleet.joined_by({NEW: ("--model", MODEL, "--dtype", "bfloat16")}):
        yield fleet


async def test_an_old_card_and_a_new_one_make_the_picture_of_the_simulator(
    mixed: HurtableFleet, denoiser: Denoiser
) -> None:
    asked, events = replace(request(STEPS, Quality.HIGH), plan=HALVES), list[JobEvent]()
    async with AsyncClient(mixed.address) as client:
        made = await client.picture(asked, events.append)
    explanation = next(event for event in events if isinstance(event, ImagePlanned)).explanation
    told = f"the picture is computed by {OLD} in float32, {NEW} in bfloat16; activations travel in bfloat16"
    assert [notice for notice in explanation.notices if "computed" in notice] == [told]
    predicted = {share.agent: share.sent_bytes for share in explanation.chosen.prediction.agents}
    assert {usage.agent: usage.sent_bytes for usage in made.report.agents} == predicted
    assert PSNR_MIN_DB < psnr(pixels(made), simulated(denoiser, asked, HALVES)) < 99


async def test_an_exact_picture_is_made_by_one_of_them(mixed: HurtableFleet) -> None:
    async with AsyncClient(mixed.address) as client:
        of_both = replace(request(STEPS, Quality.EXACT), overrides=Overrides(devices=(OLD, NEW)))
        explanation = await client.explain(of_both)
    assert explanation.chosen.plan.agents == (OLD,)
    excluded = {exclusion.agent: exclusion.reason for exclusion in explanation.exclusions}
    assert excluded.pop(NEW) is ExclusionReason.OTHER_ARITHMETIC
    assert set(excluded.values()) <= {ExclusionReason.NOT_NAMED}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    mse = float(np.square(one.astype(float) - other.astype(float)).mean())
    return 10 * float(np.log10(255**2 / mse)) if mse else 99.0
