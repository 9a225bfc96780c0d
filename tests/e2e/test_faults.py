"""Processes that die or hang, and clients that leave, at random moments of a picture.

Each moment must end in the right picture or in a typed error, in time, and leave the fleet able to make the next
picture. The number of moments a kind is ``TEST_FAULT_MOMENTS`` (one in an ordinary test run), their seed
``TEST_FAULT_SEED``; the model is that of ``pictures``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass

import pytest

from polyrhythm.errors import PolyrhythmError
from polyrhythm.job.events import ImagePlanned, ImageReplanned, JobAccepted, JobEvent
from polyrhythm.job.image import Quality
from polyrhythm.plan.explanation import Explanation
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_client import AsyncClient, Picture
from tests.e2e.pictures import request, right_pixels
from tests.e2e.processes import HurtableFleet

pytestmark = [pytest.mark.timeout(3600), pytest.mark.asyncio(loop_scope="session")]

MOMENTS = int(os.environ.get("TEST_FAULT_MOMENTS", "1"))
SEED = int(os.environ.get("TEST_FAULT_SEED", "20"))
KINDS = ("worker-kill", "daemon-stop", "worker-stop", "daemon-kill")
"""What is done to whom; an ordinary run takes one that is seen to die and one that is only silent."""
STEPS = 24
PATIENCE = 1.0 if MOMENTS > 1 else 10.0
"""The bound is a claim about a quiet machine; an ordinary test run, on a shared one, looks for hangs."""
GRACE_S = 2.0
GRACE_STEPS = 3
EXACT = request(STEPS, Quality.EXACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one job that was hurt."""

    kind: str
    moment_s: float
    outcome: str
    replans: int
    over_plan_s: float
    allowed_s: float


@dataclass(slots=True)
class Watched:
    """What a client saw of one job."""

    events: list[tuple[float, JobEvent]]
    picture: Picture | None = None
    error: PolyrhythmError | None = None
    end_s: float = 0.0

    @property
    def explanation(self) -> Explanation:
        return next(event.explanation for _, event in self.events if isinstance(event, ImagePlanned))

    def first(self, kind: type[JobEvent]) -> float | None:
        return next((at_s for at_s, event in self.events if isinstance(event, kind)), None)


async def watch(client: AsyncClient, quality: Quality, watched: Watched, started: asyncio.Event) -> None:
    def note(event: JobEvent) -> None:
        watched.events.append((time.monotonic(), event))
        if isinstance(event, ImagePlanned):
            started.set()

    try:
        watched.picture = await client.picture(request(STEPS, quality), note)
    except PolyrhythmError as error:
        watched.error = error
    watched.end_s = time.monotonic()
    started.set()


def time_allowed(watched: Watched, fault_s: float) -> tuple[float, float]:
    """Predicted seconds of what was left to do after the fault, and what may come on top of it."""
    explanation = watched.explanation
    rows = explanation.chosen.plan.row_count
    steps_s = [profile.forward_s(rows) for profile in explanation.profiles]
    grace_s = PATIENCE * (GRACE_S + GRACE_STEPS * max(steps_s))
    planned_s = watched.first(ImagePlanned)
    assert planned_s is not None
    if watched.error is not None:
        return 0.0, grace_s
    replans = [event for _, event in watched.events if isinstance(event, ImageReplanned)]
    if not replans:
        return max(0.0, planned_s + explanation.chosen.prediction.total_s - fault_s), grace_s
    # The survivor alone: the planner may only be faster than that.
    survivors = set(replans[-1].plan.agents)
    rest_s = min(
        profile.encode_s + profile.decode_s + (STEPS - replans[-1].begin_step) * profile.forward_s(rows)
        for profile in explanation.profiles
        if profile.agent in survivors
    )
    return rest_s, grace_s


async def hurt_once(fleet: HurtableFleet, denoiser: Denoiser, kind: str, chance: random.Random) -> Outcome:
    """One job, one fault of one of its agents at a random moment."""
    quality = chance.choice((Quality.EXACT, Quality.HIGH, Quality.BALANCED))
    await fleet.until_ready()
    started = asyncio.Event()
    async with AsyncClient(fleet.address) as client:
        watched = Watched(events=[])
        job = asyncio.create_task(watch(client, quality, watched, started))
        await started.wait()
        agent = chance.choice(watched.explanation.chosen.plan.agents)
        moment_s = chance.uniform(0.0, 2.0)
        await asyncio.sleep(moment_s)  # the random moment is what is tested
        target = fleet.worker(agent) if kind.startswith("worker") else fleet.daemon(agent)
        fault_s = time.monotonic()
        target.send_signal(signal.SIGKILL if kind.endswith("kill") else signal.SIGSTOP)
        await asyncio.wait_for(job, 60)
        # The next job, while the hurt agent is still away.
        following = await client.picture(EXACT)
    assert await asyncio.to_thread(right_pixels, denoiser, following, EXACT)
    if watched.picture is not None:
        assert await asyncio.to_thread(right_pixels, denoiser, watched.picture, request(STEPS, quality))
    if kind == "daemon-stop":
        fleet.daemon(agent).send_signal(signal.SIGCONT)
    elif kind == "daemon-kill":
        await fleet.reap_daemon(agent)
        await fleet.start_daemon(agent)
    await fleet.until_ready()
    assert fleet.orphans() == []
    rest_s, allowed_s = time_allowed(watched, fault_s)
    outcome = "picture" if watched.picture is not None else str(watched.error.code if watched.error else "")
    return Outcome(
        kind=kind,
        moment_s=round(moment_s, 3),
        outcome=outcome,
        replans=sum(isinstance(event, ImageReplanned) for _, event in watched.events),
        over_plan_s=round(watched.end_s - fault_s - rest_s, 3),
        allowed_s=round(allowed_s, 3),
    )


@pytest.mark.parametrize("kind", KINDS if MOMENTS > 1 else KINDS[:2])
async def test_a_hurt_process_costs_little_and_no_job(
    fleet: HurtableFleet, denoiser: Denoiser, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(f"{SEED} {kind}")
    outcomes = []
    for _ in range(MOMENTS):
        outcome = await hurt_once(fleet, denoiser, kind, chance)
        with capsys.disabled():
            print(json.dumps(asdict(outcome)))  # noqa: T201 - the record of a long run
        outcomes.append(outcome)
    late = [outcome for outcome in outcomes if outcome.over_plan_s > outcome.allowed_s]
    assert not late
    assert all(outcome.outcome == "picture" for outcome in outcomes)  # one agent always survives


async def test_a_client_that_leaves_stops_the_work(fleet: HurtableFleet, denoiser: Denoiser) -> None:
    chance = random.Random(f"{SEED} disconnect")
    for _ in range(MOMENTS):
        await fleet.until_ready()
        async with AsyncClient(fleet.address) as client:
            async with aclosing(client.generate(request(STEPS, Quality.BALANCED))) as events:
                async for event in events:
                    if isinstance(event, JobAccepted):
                        break
                moment_s = chance.uniform(0.0, 2.0)
                deadline_s = time.monotonic() + moment_s
                while (left_s := deadline_s - time.monotonic()) > 0:
                    try:
                        await asyncio.wait_for(anext(events), left_s)
                    except (TimeoutError, StopAsyncIteration):
                        break
            left_at_s = time.monotonic()
            following = await client.picture(EXACT)
            explanation = following.explanation
            assert explanation is not None
            step_s = max(p.forward_s(explanation.chosen.plan.row_count) for p in explanation.profiles)
            beyond_s = time.monotonic() - left_at_s - explanation.chosen.prediction.total_s
        assert beyond_s <= PATIENCE * (GRACE_S + GRACE_STEPS * step_s)
        assert await asyncio.to_thread(right_pixels, denoiser, following, EXACT)
        assert fleet.orphans() == []
