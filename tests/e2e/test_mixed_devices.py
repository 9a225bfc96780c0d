"""Real processes that compute in two dtypes: they make a picture together, and an exact one apart."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio
import torch
from PIL import Image

from polyrhythm.explanation import ExclusionReason
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageRequest, ImageSpec, Quality, Sampler
from polyrhythm.job_events import JobEvent, Planned
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import RowRange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_folder import find_model
from polyrhythm_client import Client
from tests.e2e.processes import HurtableFleet
from tests.simulator import PlanSimulator

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

OLD, NEW = AgentId("local-0"), AgentId("local-1")
STEPS = 8
PSNR_MIN_DB = 40.0
"""Of the mixed picture against the simulator's in fp32; measured: 49.5 dB."""
PROMPT = "red apple on a blue background"
REQUEST = ImageRequest(prompt=PROMPT, steps=STEPS, seed=5, sampler=Sampler.DDIM, guidance=4.0, quality=Quality.HIGH)
IMAGE = ImageSpec(
    model="demo-transformer",
    prompt=PROMPT,
    width_px=128,
    height_px=128,
    steps=STEPS,
    seed=5,
    guidance=4.0,
    sampler=Sampler.DDIM,
    quality=Quality.HIGH,
)


def both(exchange: Exchange, begin_step: int, end_step: int) -> Segment:
    halves = (RowRange(begin=0, end=8), RowRange(begin=8, end=16))
    return Segment(
        begin_step=begin_step,
        end_step=end_step,
        beat_steps=2,
        exchange=exchange,
        assignments=tuple(Assignment(agent=agent, rows=rows) for agent, rows in zip((OLD, NEW), halves, strict=True)),
    )


HALVES = Plan(
    version=1,
    begin_step=0,
    steps=STEPS,
    segments=(both(Exchange.SYNCHRONOUS, 0, 4), both(Exchange.DISPLACED, 4, STEPS)),
    encoder=OLD,
    decoder=OLD,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[HurtableFleet]:
    dtypes: dict[str, str] = {OLD: "float32", NEW: "bfloat16"}
    started = HurtableFleet((1.0, 1.0), tmp_path_factory.mktemp("fleet") / "stderr.log", dtypes=dtypes)
    async with started:
        yield started
    assert started.survivors() == []


async def test_an_old_card_and_a_new_one_make_the_picture_of_the_simulator(fleet: HurtableFleet) -> None:
    events: list[JobEvent] = []
    async with Client(fleet.address) as client:
        made = await client.picture(replace(REQUEST, plan=HALVES), events.append)
    explanation = next(event for event in events if isinstance(event, Planned)).explanation
    assert explanation.notices == (
        "the picture is computed by local-0 in float32, local-1 in bfloat16; activations travel in bfloat16",
    )
    predicted = {share.agent: share.sent_bytes for share in explanation.chosen.prediction.agents}
    assert {usage.agent: usage.sent_bytes for usage in made.report.agents} == predicted
    psnr_db = psnr(np.asarray(Image.open(io.BytesIO(made.png)).convert("RGB")), simulated())
    assert PSNR_MIN_DB < psnr_db < 99


async def test_an_exact_picture_is_made_by_one_of_them(fleet: HurtableFleet) -> None:
    async with Client(fleet.address) as client:
        explanation = await client.explain(replace(REQUEST, quality=Quality.EXACT))
    assert explanation.chosen.plan.agents == (OLD,)
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == (NEW, ExclusionReason.OTHER_ARITHMETIC)


def simulated() -> np.ndarray:
    """The picture that the plan makes in fp32."""
    torch.set_num_threads(1)
    denoiser = load_denoiser(find_model("demo-transformer").path, model="demo-transformer", dtype=torch.float32)
    with torch.inference_mode():
        run = denoiser.start(IMAGE, denoiser.encode(IMAGE))
        x_BCHW = PlanSimulator(run).simulate(HALVES)[STEPS].x_BCHW
        return denoiser.decode(x_BCHW).permute(1, 2, 0).numpy()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    mse = float(np.square(one.astype(float) - other.astype(float)).mean())
    return 10 * float(np.log10(255**2 / mse)) if mse else 99.0
