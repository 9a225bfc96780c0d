"""Agents of real processes with little memory: left out with both sizes, given few rows, and short of it in a job."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from polyrhythm.errors import NoAgentsError
from polyrhythm.explanation import ExclusionReason
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageRequest, Overrides, Quality
from polyrhythm.job_events import AgentFailed, JobEvent, PartLoaded, Planned, Replanned, ReplanReason
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import RowRange
from polyrhythm_client import Client, Picture
from tests.e2e.processes import HurtableFleet
from tests.models import tiny_pixart_folder

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

MIB = 1 << 20
PIXEL_LEVELS = 1
"""An fp32 picture of another arithmetic order may round a pixel the other way."""
STEPS = 8
ROOMY, SMALL, TINY = AgentId("local-0"), AgentId("local-1"), AgentId("local-2")
SMALL_ROWS = 3
"""Beside the demo model's denoiser, its text and one version of the picture, 38.4 MiB hold so many of its 16 rows."""
SMALL_BYTES = int(38.4 * MIB)
EXACT = ImageRequest(prompt="red apple on a blue background", steps=STEPS, seed=5, quality=Quality.EXACT)
HALVES = Plan(
    version=1,
    begin_step=0,
    steps=STEPS,
    segments=(
        Segment(
            begin_step=0,
            end_step=STEPS,
            beat_steps=4,
            exchange=Exchange.SYNCHRONOUS,
            assignments=(
                Assignment(agent=ROOMY, rows=RowRange(begin=0, end=8)),
                Assignment(agent=SMALL, rows=RowRange(begin=8, end=16)),
            ),
        ),
    ),
    encoder=ROOMY,
    decoder=ROOMY,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[HurtableFleet]:
    limits: dict[str, str] = {SMALL: "38.4MiB", TINY: "20MiB"}
    started = HurtableFleet(
        (1.0, 1.0, 1.0),
        tmp_path_factory.mktemp("fleet") / "stderr.log",
        memory_limits=limits,
        options=("--offload", "never"),
    )
    async with started:
        yield started


async def test_limits_are_listed(fleet: HurtableFleet) -> None:
    async with Client(fleet.address) as client:
        limits = {view.agent: view.device.memory_limit_bytes for view in await client.agents()}
    assert limits == {ROOMY: None, SMALL: SMALL_BYTES, TINY: 20 * MIB}


async def test_an_agent_too_small_for_the_model_is_left_out_and_a_small_one_gets_no_more_than_fits(
    fleet: HurtableFleet,
) -> None:
    async with Client(fleet.address) as client:
        explanation = await client.explain(EXACT)
    excluded = {exclusion.agent: exclusion for exclusion in explanation.exclusions}
    assert excluded[TINY].reason is ExclusionReason.TOO_LITTLE_MEMORY
    assert "weights 26.8 MiB" in excluded[TINY].detail
    assert "free to it are 20.0 MiB" in excluded[TINY].detail
    gangs = [c for c in (explanation.chosen, *explanation.runners_up) if SMALL in c.plan.agents]
    assert gangs
    for candidate in gangs:
        assert all(segment.of(SMALL).rows.count <= SMALL_ROWS for segment in candidate.plan.segments)
        (need_bytes,) = [share.memory_bytes for share in candidate.prediction.agents if share.agent == SMALL]
        assert need_bytes <= SMALL_BYTES


async def test_work_beyond_the_limit_is_refused_and_the_picture_is_made_by_another_plan(fleet: HurtableFleet) -> None:
    events: list[JobEvent] = []
    async with Client(fleet.address) as client:
        made = await client.picture(replace(EXACT, plan=HALVES), events.append)
        expected = await client.picture(EXACT)
    assert next(event for event in events if isinstance(event, Planned)).explanation.chosen.plan == HALVES
    (failed,) = [event for event in events if isinstance(event, AgentFailed)]
    assert failed.agent == SMALL
    assert "the limit is 38.4 MiB" in failed.reason
    (replanned,) = [event for event in events if isinstance(event, Replanned)]
    assert (replanned.reason, replanned.begin_step) == (ReplanReason.OUT_OF_MEMORY, 0)
    assert np.abs(pixels(made) - pixels(expected)).max() <= PIXEL_LEVELS


async def test_an_agent_that_holds_the_denoiser_but_not_the_text_encoder_takes_part(tmp_path: Path) -> None:
    folder = tiny_pixart_folder(tmp_path / "model", text_inner=1 << 15)
    started = HurtableFleet(
        (0.5, 0.5), tmp_path / "stderr.log", memory_limits={SMALL: "2MiB"}, options=("--model", str(folder))
    )
    events: list[JobEvent] = []
    async with started, Client(started.address) as client:
        explanation = await client.explain(EXACT)
        made = await client.picture(replace(EXACT, plan=HALVES), events.append)
        expected = await client.picture(replace(EXACT, overrides=Overrides(devices=(ROOMY,))))
        with pytest.raises(NoAgentsError, match=r"decoding takes more than all of 2\.0 MiB"):
            await client.picture(replace(EXACT, overrides=Overrides(devices=(SMALL,))))
    for part in ("text encoder", "autoencoder"):
        assert any(told.startswith(f"{SMALL} has no room for the {part}") for told in explanation.notices)
    assert not [event for event in events if isinstance(event, AgentFailed | Replanned)]
    assert {event.agent for event in events if isinstance(event, PartLoaded)} <= {ROOMY}
    usage = {usage.agent: usage.steps for usage in made.report.agents}
    assert usage == {ROOMY: STEPS, SMALL: STEPS}
    assert np.abs(pixels(made) - pixels(expected)).max() <= PIXEL_LEVELS


async def test_an_agent_whose_denoiser_does_not_fit_brings_it_in_block_by_block(tmp_path: Path) -> None:
    started = HurtableFleet((1.0, 1.0), tmp_path / "stderr.log", memory_limits={SMALL: "12MiB"}, model="demo-unet")
    request = replace(EXACT, width_px=128, height_px=128)
    async with started, Client(started.address) as client:
        offloaded = {view.agent: [facts.offloaded for facts in view.models] for view in await client.agents()}
        explanation = await client.explain(request)
        rows = explanation.chosen.plan.row_count
        halves = replace(HALVES.segments[0], assignments=(
            Assignment(agent=ROOMY, rows=RowRange(begin=0, end=rows // 2)),
            Assignment(agent=SMALL, rows=RowRange(begin=rows // 2, end=rows)),
        ))  # fmt: skip
        made = await client.picture(replace(request, plan=replace(HALVES, segments=(halves,))))
        expected = await client.picture(replace(request, overrides=Overrides(devices=(ROOMY,))))
    assert offloaded == {ROOMY: [False], SMALL: [True]}
    assert {profile.agent: profile.offloaded for profile in explanation.profiles} == {ROOMY: False, SMALL: True}
    assert {usage.agent: usage.steps for usage in made.report.agents} == {ROOMY: STEPS, SMALL: STEPS}
    assert len(made.report.plans) == 1
    assert np.abs(pixels(made) - pixels(expected)).max() <= PIXEL_LEVELS


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png))).astype(int)
