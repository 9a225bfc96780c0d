"""A fleet that makes no pictures: it knows what its devices would measure, and takes as long as its cost model says."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import permutations

import numpy as np
from latency_study.cases import Case
from latency_study.estimate import true_speeds
from latency_study.summary import CoreTime
from PIL import Image

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import AgentFailed, JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.facts import DeviceFacts, DeviceKind
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.profile import Link, Profile, Workload
from polyrhythm_client.pictures import Picture
from polyrhythm_coordinator.scheduling.planning.cost_model import predict
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.plan_requests import FACTS as PLANNED

LINK = Link(latency_s=0.1e-3, bytes_per_s=2e9)
WHOLE_S = 0.04

FACTS = replace(PLANNED, default_steps=25, default_guidance=4.5)


def device(agent: AgentId, speed: float) -> DeviceFacts:
    return DeviceFacts(
        uuid=agent,
        name="cpu",
        kind=DeviceKind.CPU,
        memory_total_bytes=1,
        memory_free_bytes=1,
        emulated_speed=speed,
    )


class CalculatedFleet:
    """Answers at once.

    Args:
        speeds: of its devices.
        emulated: what the devices say of themselves; the same if None.
        slowness: measured over predicted seconds.
        losing: pictures, counted from 0, in which it loses a device and begins anew by another plan.
    """

    def __init__(
        self,
        speeds: Sequence[float],
        *,
        emulated: Sequence[float] | None = None,
        slowness: float = 1.0,
        losing: frozenset[int] = frozenset(),
    ) -> None:
        self._emulated = tuple(emulated or speeds)
        self.speeds = {AgentId(f"local-{index}"): speed for index, speed in enumerate(speeds)}
        self.requests: list[ImageRequest] = []
        self.load_running: list[bool] = []
        self._slowness = slowness
        self._losing = losing
        self._linked = False

    async def agents(self) -> tuple[AgentView, ...]:
        return tuple(
            AgentView(
                name=agent,
                state=AgentState.READY,
                device=device(agent, self._emulated[index]),
                models=(FACTS,),
                software=(),
            )
            for index, agent in enumerate(self.speeds)
        )

    async def explain(self, request: ImageRequest) -> Explanation:
        return search_plan(self.plan_request(request))

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None]) -> Picture:
        assert request.plan is not None
        self.requests.append(request)
        self._linked = self._linked or len(request.plan.agents) > 1
        prediction = predict(request.plan, self.plan_request(request))
        followed = replace(request.plan, version=request.plan.version + 1)
        lost = len(self.requests) - 1 in self._losing
        if lost:
            on_event(AgentFailed(agent=followed.agents[-1], reason="it hangs"))
        report = JobReport(
            job=JobId("job"),
            image_index=0,
            seed=request.seed or 0,
            fingerprint=FACTS.fingerprint,
            plans=(request.plan, followed) if lost else (followed,),
            agents=tuple(
                AgentUsage(
                    agent=share.agent,
                    device=device(share.agent, 1.0),
                    dtype=FACTS.dtype,
                    software=(),
                    rows=(),
                    steps=request.plan.steps,
                    busy_s=share.busy_s,
                    wait_s=share.wait_s,
                    sent_bytes=share.sent_bytes,
                )
                for share in prediction.agents
            ),
            encode_s=0.01,
            denoise_s=prediction.denoise_s * self._slowness,
            decode_s=0.01,
            queued_s=0.0,
            predicted_denoise_s=prediction.denoise_s,
        )
        return Picture(png=png_of(request.plan, request.seed or 0), spec=resolve(request, FACTS, seed=0), report=report)

    def core_times(self) -> tuple[CoreTime, ...]:
        """Every device runs a second a picture; the second one queues for a quarter of one."""
        pictures = len(self.requests)
        return tuple(
            CoreTime(ran_s=1.0 * pictures, queued_s=0.25 * pictures if index == 1 else 0.0)
            for index in range(len(self.speeds))
        )

    def set_load(self, *, running: bool) -> None:
        self.load_running.append(running)

    def plan_request(self, request: ImageRequest) -> PlanRequest:
        image = resolve(request, FACTS, seed=0)
        workload = Workload(model="tiny", width_px=image.width_px, height_px=image.height_px, batch=2)
        profiles = tuple(
            Profile(
                agent=agent,
                workload=workload,
                fixed_s=0.05 * WHOLE_S / speed,
                per_row_s=0.95 * WHOLE_S / 16 / speed,
                encode_s=0.01,
                decode_s=0.02,
                samples=1,
            )
            for agent, speed in self.speeds.items()
        )
        links = dict.fromkeys(permutations(self.speeds, 2), LINK) if self._linked else {}
        return PlanRequest(image=image, facts=FACTS, profiles=profiles, links=links)


class FleetYard:
    """Opens calculated fleets and remembers them."""

    def __init__(self, *, slowness: float = 1.0, losing: frozenset[int] = frozenset()) -> None:
        self.fleets: list[CalculatedFleet] = []
        self.open_now = 0
        self._slowness = slowness
        self._losing = losing

    @asynccontextmanager
    async def open(self, case: Case) -> AsyncIterator[CalculatedFleet]:
        assert not self.open_now, "fleets share the cores: one at a time"
        # What the first fleet measures is exact; the later ones run slower than that.
        slowness = self._slowness if self.fleets else 1.0
        self.fleets.append(
            CalculatedFleet(true_speeds(case), emulated=case.speeds, slowness=slowness, losing=self._losing)
        )
        self.open_now += 1
        try:
            yield self.fleets[-1]
        finally:
            self.open_now -= 1


def png_of(plan: Plan, seed: int) -> bytes:
    """A picture that depends on plan and seed alone: noise of the seed, and a level for each plan."""
    pixels_HW3 = np.random.default_rng(seed).integers(0, 200, (32, 32, 3), dtype=np.uint8)
    level = np.uint8(sum(map(ord, repr(plan))) % 7)
    file = io.BytesIO()
    Image.fromarray(pixels_HW3 + level).save(file, format="PNG")
    return file.getvalue()
