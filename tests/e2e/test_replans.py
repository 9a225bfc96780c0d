"""A fleet that changes under a running picture: it is planned anew and is the picture of the plans it followed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned, ImageProgressed, ImageReplanned, JobEvent, ReplanReason
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm.plan.plan import Plan
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_client import AsyncClient
from tests.e2e import pictures
from tests.e2e.pictures import right_pixels
from tests.e2e.processes import FAST, SLOW, HurtableFleet, throttled

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


LONG_STEPS = 40
"""Of which many are left, however late what is told at the eighth arrives on a busy machine."""


def request(steps: int) -> ImageRequest:
    """With a sampler that the model is not calibrated for: strides are asked for.

    Of a size that no other test asks for: speeds that the fleet has learned while it was hurt do not count.
    """
    return replace(pictures.request(steps, Quality.BALANCED), height_px=160, overrides=Overrides(max_stride=2))


Condition = Callable[[JobEvent], bool]


@dataclass(slots=True)
class Job:
    """A picture under way, as its client sees it."""

    events: list[JobEvent] = field(default_factory=list)
    awaited: list[tuple[Condition, asyncio.Event]] = field(default_factory=list)

    def note(self, event: JobEvent) -> None:
        self.events.append(event)
        for condition, seen in self.awaited:
            if condition(event):
                seen.set()

    def seen(self, condition: Condition) -> asyncio.Event:
        """Set once the client has been told something from now on."""
        seen = asyncio.Event()
        self.awaited.append((condition, seen))
        return seen

    @property
    def first_plan(self) -> Plan:
        return next(event for event in self.events if isinstance(event, ImagePlanned)).explanation.chosen.plan

    def replans(self, reason: ReplanReason) -> list[ImageReplanned]:
        return [event for event in self.events if isinstance(event, ImageReplanned) and event.reason is reason]


def is_at(step: int) -> Condition:
    return lambda event: isinstance(event, ImageProgressed) and event.step >= step


def last_rows(plan: Plan, agent: AgentId) -> int:
    return plan.segments[-1].of(agent).rows.count if agent in plan.agents else 0


async def state_of(client: AsyncClient, agent: AgentId) -> AgentState:
    return next(view.state for view in await client.agents() if view.name == agent)


async def test_a_drained_agent_gives_its_rows_away_in_mid_image(fleet: HurtableFleet, denoiser: Denoiser) -> None:
    steps, job = LONG_STEPS, Job()
    async with AsyncClient(fleet.address) as client:
        under_way = job.seen(is_at(8))
        making = asyncio.create_task(client.picture(request(steps), job.note))
        await under_way.wait()
        assert set(job.first_plan.agents) == {SLOW, FAST}
        (leaving,) = set(job.first_plan.agents) - {job.first_plan.decoder}
        view = await client.drain(leaving)
        assert view is not None
        assert view.state is AgentState.DRAINING
        picture = await making
        assert await state_of(client, leaving) is AgentState.DRAINED
        await client.drain(leaving, undo=True)
        assert await state_of(client, leaving) is AgentState.READY
    (replanned,) = job.replans(ReplanReason.AGENT_DRAINED)
    assert replanned.plan.agents == job.first_plan.agents
    assert not any(segment.of(leaving).rows.count for segment in replanned.plan.segments)
    assert picture.report.plans[-1].begin_step >= replanned.begin_step
    assert await asyncio.to_thread(right_pixels, denoiser, picture, request(steps))


async def test_a_drained_decoder_leaves_the_gang(fleet: HurtableFleet, denoiser: Denoiser) -> None:
    steps, job = LONG_STEPS, Job()
    async with AsyncClient(fleet.address) as client:
        under_way = job.seen(is_at(8))
        making = asyncio.create_task(client.picture(request(steps), job.note))
        await under_way.wait()
        leaving = job.first_plan.decoder
        await client.drain(leaving)
        picture = await making
        await client.drain(leaving, undo=True)
    (replanned,) = job.replans(ReplanReason.AGENT_DRAINED)
    assert leaving not in replanned.plan.agents
    assert 8 <= replanned.begin_step == picture.report.plans[-1].begin_step
    assert await asyncio.to_thread(right_pixels, denoiser, picture, request(steps))


async def test_an_agent_that_becomes_ready_joins_the_picture(fleet: HurtableFleet, denoiser: Denoiser) -> None:
    steps, job = 56, Job()
    fleet.daemon(FAST).send_signal(signal.SIGSTOP)
    async with AsyncClient(fleet.address) as client:
        await fleet.until_lost(FAST)
        under_way = job.seen(is_at(4))
        making = asyncio.create_task(client.picture(request(steps), job.note))
        await under_way.wait()
        assert job.first_plan.agents == (SLOW,)
        fleet.daemon(FAST).send_signal(signal.SIGCONT)  # it connects again, with its worker loaded
        picture = await making
    replanned, *_ = job.replans(ReplanReason.AGENT_JOINED)
    assert set(replanned.plan.agents) == {SLOW, FAST}
    assert last_rows(replanned.plan, FAST) > 0
    assert picture.report.plans[0].agents == (SLOW,)
    assert await asyncio.to_thread(right_pixels, denoiser, picture, request(steps))


async def test_a_member_that_something_else_slows_down_gives_rows_away(
    fleet: HurtableFleet, denoiser: Denoiser
) -> None:
    await fleet.until_ready()
    steps, job = 56, Job()
    async with AsyncClient(fleet.address) as client:
        under_way, changed = job.seen(is_at(12)), job.seen(lambda event: isinstance(event, ImageReplanned))
        making = asyncio.create_task(client.picture(request(steps), job.note))
        await under_way.wait()
        async with throttled(fleet.worker(FAST), share=0.25):
            noticed = asyncio.create_task(changed.wait())
            await asyncio.wait({making, noticed}, return_when=asyncio.FIRST_COMPLETED)
            noticed.cancel()
        picture = await making
    replans = job.replans(ReplanReason.SPEED_CHANGED)
    assert replans
    assert min(last_rows(event.plan, FAST) for event in replans) < last_rows(job.first_plan, FAST)
    assert [plan.begin_step for plan in picture.report.plans] == [0, *(event.begin_step for event in replans)]
    assert await asyncio.to_thread(right_pixels, denoiser, picture, request(steps))
