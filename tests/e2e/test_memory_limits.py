"""Agents of real processes with little memory: left out with both sizes, given few rows, and short of it in a job."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
import pytest_asyncio

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import AgentFailed, ImagePlanned, ImageReplanned, JobEvent, ModelPartLoaded, ReplanReason
from polyrhythm.job.image import Overrides, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_client import AsyncClient
from tests.e2e.pictures import MODEL, halves, pixels, request, same_pixels
from tests.e2e.processes import FAST, HurtableFleet
from tests.tiny_models.transformers import tiny_pixart_folder

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

MIB = 1 << 20
STEPS = 8
ROOMY = FAST
SMALL, TINY = AgentId("small"), AgentId("tiny")
SMALL_ROWS = 3
"""Beside the demo model's denoiser, its text and one version of the picture, 38.4 MiB hold so many of its 16 rows."""
SMALL_BYTES = int(38.4 * MIB)
WORDY = "wordy"
"""A model whose text encoder is what is large in it."""
WORDY_ROOMY, WORDY_SMALL = AgentId("wordy-roomy"), AgentId("wordy-small")
UNET = "demo-unet"
UNET_ROOMY, UNET_SMALL = AgentId("unet-roomy"), AgentId("unet-small")
EXACT = request(STEPS, Quality.EXACT)
OF_THREE = replace(EXACT, overrides=Overrides(devices=(ROOMY, SMALL, TINY)))


def in_halves(upper: AgentId, lower: AgentId, rows: int = 16) -> Plan:
    return halves(upper, lower, (Exchange.SYNCHRONOUS, STEPS), rows=rows, beat_steps=4)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def narrow(fleet: HurtableFleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[HurtableFleet]:
    """The fleet, and beside its agents some with little memory, of three models."""
    wordy = ("--model", str(tiny_pixart_folder(tmp_path_factory.mktemp("models") / WORDY, text_inner=1 << 15)))
    half_speed = ("--emulate-speed", "0.5")
    others = {
        SMALL: ("--model", MODEL, "--memory-limit", "38.4MiB", "--offload", "never"),
        TINY: ("--model", MODEL, "--memory-limit", "20MiB", "--offload", "never"),
        WORDY_ROOMY: (*wordy, *half_speed),
        WORDY_SMALL: (*wordy, *half_speed, "--memory-limit", "2MiB"),
        UNET_ROOMY: ("--model", UNET),
        UNET_SMALL: ("--model", UNET, "--memory-limit", "12MiB"),
    }
    async with fleet.joined_by(others):
        yield fleet


async def test_limits_are_listed(narrow: HurtableFleet) -> None:
    async with AsyncClient(narrow.address) as client:
        limits = {view.name: view.device.memory_limit_bytes for view in await client.agents()}
    assert {agent: limits[agent] for agent in (ROOMY, SMALL, TINY)} == {ROOMY: None, SMALL: SMALL_BYTES, TINY: 20 * MIB}


async def test_an_agent_too_small_for_the_model_is_left_out_and_a_small_one_gets_no_more_than_fits(
    narrow: HurtableFleet,
) -> None:
    async with AsyncClient(narrow.address) as client:
        explanation = await client.explain(OF_THREE)
    excluded = {exclusion.agent: exclusion for exclusion in explanation.exclusions}
    assert excluded[TINY].reason is ExclusionReason.TOO_LITTLE_MEMORY
    assert "weights 26.8 MiB" in excluded[TINY].message
    assert "free to it are 20.0 MiB" in excluded[TINY].message
    gangs = [c for c in (explanation.chosen, *explanation.runners_up) if SMALL in c.plan.agents]
    assert gangs
    for candidate in gangs:
        assert all(segment.of(SMALL).rows.count <= SMALL_ROWS for segment in candidate.plan.segments)
        (need_bytes,) = [share.memory_bytes for share in candidate.prediction.agents if share.agent == SMALL]
        assert need_bytes <= SMALL_BYTES


async def test_work_beyond_the_limit_is_refused_and_the_picture_is_made_by_another_plan(narrow: HurtableFleet) -> None:
    events: list[JobEvent] = []
    asked = replace(EXACT, plan=in_halves(ROOMY, SMALL))
    async with AsyncClient(narrow.address) as client:
        made = await client.picture(asked, events.append)
        expected = await client.picture(EXACT)
    assert next(event for event in events if isinstance(event, ImagePlanned)).explanation.chosen.plan == asked.plan
    (failed,) = [event for event in events if isinstance(event, AgentFailed)]
    assert failed.agent == SMALL
    assert "the limit is 38.4 MiB" in failed.reason
    (replanned,) = [event for event in events if isinstance(event, ImageReplanned)]
    assert (replanned.reason, replanned.begin_step) == (ReplanReason.OUT_OF_MEMORY, 0)
    assert same_pixels(pixels(made), pixels(expected))


async def test_an_agent_that_holds_the_denoiser_but_not_the_text_encoder_takes_part(narrow: HurtableFleet) -> None:
    asked, events = replace(EXACT, model=WORDY), list[JobEvent]()
    async with AsyncClient(narrow.address) as client:
        explanation = await client.explain(asked)
        made = await client.picture(replace(asked, plan=in_halves(WORDY_ROOMY, WORDY_SMALL)), events.append)
        expected = await client.picture(replace(asked, overrides=Overrides(devices=(WORDY_ROOMY,))))
        with pytest.raises(NoAgentsError, match=r"decoding takes more than all of 2\.0 MiB"):
            await client.picture(replace(asked, overrides=Overrides(devices=(WORDY_SMALL,))))
    for part in ("text encoder", "autoencoder"):
        assert any(told.startswith(f"{WORDY_SMALL} has no room for the {part}") for told in explanation.notices)
    assert not [event for event in events if isinstance(event, AgentFailed | ImageReplanned)]
    assert {event.agent for event in events if isinstance(event, ModelPartLoaded)} <= {WORDY_ROOMY}
    usage = {usage.agent: usage.steps for usage in made.report.agents}
    assert usage == {WORDY_ROOMY: STEPS, WORDY_SMALL: STEPS}
    assert same_pixels(pixels(made), pixels(expected))


async def test_an_agent_whose_denoiser_does_not_fit_brings_it_in_block_by_block(narrow: HurtableFleet) -> None:
    asked = replace(EXACT, model=UNET)
    async with AsyncClient(narrow.address) as client:
        offloaded = {view.name: [facts.offloaded for facts in view.models] for view in await client.agents()}
        explanation = await client.explain(asked)
        plan = in_halves(UNET_ROOMY, UNET_SMALL, rows=explanation.chosen.plan.row_count)
        made = await client.picture(replace(asked, plan=plan))
        expected = await client.picture(replace(asked, overrides=Overrides(devices=(UNET_ROOMY,))))
    assert (offloaded[UNET_ROOMY], offloaded[UNET_SMALL]) == ([False], [True])
    assert {profile.agent: profile.offloaded for profile in explanation.profiles} == {
        UNET_ROOMY: False,
        UNET_SMALL: True,
    }
    assert {usage.agent: usage.steps for usage in made.report.agents} == {UNET_ROOMY: STEPS, UNET_SMALL: STEPS}
    assert len(made.report.plans) == 1
    assert same_pixels(pixels(made), pixels(expected))
