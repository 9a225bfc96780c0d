"""Runs the study: measures on one fleet, predicts, then runs all variants on a fresh one, round by round.

Owns the order of things, which is what makes a prediction a prediction. Starts no process itself: fleets come from the
caller.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from latency_study.cases import Case
from latency_study.pictures import Pixels, pixels_of
from latency_study.prompts import prompt
from latency_study.summary import CoreTime, Run, run_of
from latency_study.variants import Measured, PlannedVariant, Variant, describe
from polyrhythm.errors import InternalError
from polyrhythm.fleet import AgentView
from polyrhythm.job.events import AgentFailed, ImageReplanned, JobEvent
from polyrhythm.job.image import ImageRequest, ImageSpec, Quality
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_client.pictures import Picture
from polyrhythm_coordinator.scheduling.planning.plan_builder import equal_patches_plan

PROBE_STEPS = 6
"""Of the one short job that makes two devices form a gang and measure their link."""

WARM_UP_ROUNDS = 1


ATTEMPTS = 3
"""Of one picture: a device that is lost and found again costs a picture, not the study."""


class PlanNotFollowedError(InternalError):
    """A fleet kept changing a plan that it was given, so its times belong to other plans."""


class PictureMaker(Protocol):
    """What the study asks of a fleet."""

    async def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents."""
        ...

    async def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run."""
        ...

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None]) -> Picture:
        """Makes one picture."""
        ...

    def core_times(self) -> tuple[CoreTime, ...]:
        """What the compute thread of each device has had of its core so far."""
        ...

    def set_load(self, *, running: bool) -> None:
        """Lets the load of a loaded case run or stand still; nothing where there is none."""
        ...


OWN_SAMPLER = "each model's"
"""How a result names the sampler where none was chosen."""

OpenFleet = Callable[[Case], AbstractAsyncContextManager[PictureMaker]]
"""Starts the fleet of a case, its load running; it is gone when the context ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every picture of the study has in common.

    Attributes:
        steps: fine steps.
        sampler: update rule; None for the model's own.
        guidance: of classifier-free guidance; None for the model's default.
        width_px: of the picture; None for the model's own.
        height_px: the same.
    """

    steps: int
    sampler: Sampler | None = None
    guidance: float | None = None
    width_px: int | None = None
    height_px: int | None = None

    def of(self, case: Case) -> Job:
        """The pictures of one case."""
        return replace(self, steps=case.steps or self.steps, width_px=case.width_px, height_px=case.height_px)

    def request(self, index: int, plan: Plan | None = None) -> ImageRequest:
        """A listed prompt with its seed, to be made by a plan."""
        text, seed = prompt(index)
        return ImageRequest(
            prompt=text,
            seed=seed,
            steps=self.steps if plan is None else plan.steps,
            sampler=self.sampler,
            guidance=self.guidance,
            width_px=self.width_px,
            height_px=self.height_px,
            quality=Quality.BALANCED,
            plan=plan,
        )

    def image(self, measured: Measured) -> ImageSpec:
        """The picture as the planner sees it; prompt and seed do not matter to a plan."""
        return resolve(self.request(0), measured.facts, seed=0)


async def measure(open_fleet: OpenFleet, case: Case, job: Job) -> Measured:
    """Phase 1: a fleet that lives only to measure its devices and their links, under the load of the case.

    Raises:
        InternalError: the fleet does not have the devices that were asked for, or measured no link.
    """
    async with open_fleet(case) as fleet:
        views = await fleet.agents()
        speeds = {view.name: view.device.emulated_speed or 1.0 for view in views}
        explanation = await fleet.explain(job.request(0))
        measured = _measured_by(views, explanation)
        if case.emulated and tuple(speeds[agent] for agent in measured.agents) != case.speeds:
            raise InternalError(f"asked for speeds {case.speeds}, the fleet has {speeds}")
        # The plan's own rows do not matter: it is there for the gang.
        short = replace(job, steps=PROBE_STEPS)
        await fleet.picture(
            short.request(0, equal_patches_plan(measured.request(short.image(measured)))), lambda _: None
        )
        measured = _measured_by(views, await fleet.explain(job.request(0)))
    if not measured.links:
        raise InternalError("the fleet formed a gang but reports no measured link")
    return measured


async def run_rounds(
    open_fleet: OpenFleet,
    case: Case,
    job: Job,
    planned: Mapping[Variant, PlannedVariant],
    *,
    repetitions: int,
    seed: str,
) -> AsyncIterator[Run]:
    """Phase 2: all variants on one fresh fleet, once a round, in an order that the seed draws anew for each round.

    Args:
        open_fleet: starts fleets.
        case: the devices.
        job: the pictures.
        planned: by phase 1.
        repetitions: rounds that count; the warm-up round before them does not.
        seed: of the orders.

    Yields:
        A run for each variant and counted round, as it happens.

    Raises:
        PlanNotFollowedError: see there.
    """
    async with open_fleet(case) as fleet:
        for round_index in range(-WARM_UP_ROUNDS, repetitions):
            for variant in round_order(seed, case, round_index):
                before = fleet.core_times()
                # The baseline is the fastest device as it would be alone on the machine.
                fleet.set_load(running=variant is not Variant.SOLO)
                picture, pixels_HW3, discarded = await _follow(fleet, job, max(0, round_index), planned[variant].plan)
                if round_index >= 0:
                    yield run_of(
                        variant,
                        round_index,
                        picture.report,
                        pixels_HW3,
                        core_times=tuple(now.since(then) for now, then in zip(fleet.core_times(), before, strict=True)),
                        discarded=discarded,
                    )


def round_order(seed: str, case: Case, round_index: int) -> tuple[Variant, ...]:
    """The variants of a case in the order of one round."""
    order = list(case.variants)
    random.Random(f"order {seed} {case.name} {round_index}").shuffle(order)
    return tuple(order)


async def make_pictures(
    open_fleet: OpenFleet, case: Case, job: Job, plans: Sequence[Plan], prompts: int
) -> AsyncIterator[tuple[int, Plan, Pixels]]:
    """The quality phase: every plan's picture of every prompt, on devices that run freely.

    A picture depends on its plan and its seed only, so it need not be made slowly.

    Yields:
        Index of the prompt, plan, and ``(H, W, 3)``.
    """
    async with open_fleet(case.freely) as fleet:
        for prompt_index in range(prompts):
            for plan in plans:
                _, pixels_HW3, _ = await _follow(fleet, job, prompt_index, plan)
                yield prompt_index, plan, pixels_HW3


async def _follow(
    fleet: PictureMaker, job: Job, prompt_index: int, plan: Plan
) -> tuple[Picture, Pixels, tuple[str, ...]]:
    """Makes a picture by a plan and by nothing else.

    Returns:
        The picture, its pixels, and what was wrong with earlier attempts that are thrown away.
    """
    discarded: list[str] = []
    for _ in range(ATTEMPTS):
        incidents: list[str] = []
        picture = await fleet.picture(job.request(prompt_index, plan), partial(_note_incident, incidents))
        followed = tuple(replace(one, version=plan.version) for one in picture.report.plans)
        if followed == (plan,):
            return picture, pixels_of(picture.png), tuple(discarded)
        discarded.append("; ".join(incidents) or f"followed {len(followed)} plans without saying why")
    raise PlanNotFollowedError(f"{ATTEMPTS} attempts to follow [{describe(plan)}] failed: {' | '.join(discarded)}")


def _note_incident(incidents: list[str], event: JobEvent) -> None:
    match event:
        case AgentFailed(agent=agent, reason=reason):
            incidents.append(f"{agent} failed: {reason}")
        case ImageReplanned(reason=reason, begin_step=begin_step):
            incidents.append(f"planned anew at step {begin_step}: {reason}")
        case _:
            pass


def _measured_by(views: Sequence[AgentView], explanation: Explanation) -> Measured:
    facts = {model for view in views for model in view.models}
    if len(facts) != 1:
        raise InternalError(f"the study needs one model in the fleet, found {sorted(one.name for one in facts)}")
    return Measured(
        facts=facts.pop(),
        profiles=explanation.profiles,
        links={(one.sender, one.receiver): one.link for one in explanation.links},
    )
