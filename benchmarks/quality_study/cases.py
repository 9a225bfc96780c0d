"""Which plans a prediction of quality is held against: what the planner chooses for drawn fleets, and plans at random.

Owns the choice of plans, drawn from a seed. Measures nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_coordinator.scheduling.planning.distortion import Distortion, Expected, distortion_of
from polyrhythm_coordinator.scheduling.planning.plan_builder import equal_patches_plan, resynchronised
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from quality_study.variants import described_fleet

SLOWEST = 0.2
"""Of drawn fleets, against the fastest device."""
RANDOM = "random"
DISPLACED = "displaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One plan.

    Attributes:
        kind: the quality that it was chosen for, ``displaced`` or ``random``.
        devices: of the fleet.
        speeds: of its devices; empty for plans that follow from none.
        plan: of the picture.
        reference: plain displaced parallelism on the same devices; None where nothing is held against it.
        loss_db: what the plan may lose against it.
        expected: what the planner predicts; None where it knows nothing of such pictures.
    """

    kind: str
    devices: int
    speeds: tuple[float, ...]
    plan: Plan
    reference: Plan | None
    loss_db: float | None
    expected: Expected | None


def drawn_cases(
    facts: ModelFacts, image: ImageSpec, *, seed: str, fleets: int, randoms: int, devices: int
) -> list[Case]:
    """All plans for pictures like one.

    Args:
        facts: of the model.
        image: whose size and length count.
        seed: everything is drawn from.
        fleets: of each number of devices.
        randoms: plans at random.
        devices: in a fleet, at most.
    """
    draw = random.Random(f"{seed} {facts.name} {image.steps}")
    found: list[Case] = []
    for members in range(1, devices + 1):
        reference = displaced_plan(facts, image, max(2, members))
        found.append(_plain(facts, image, reference))
        for _ in range(fleets):
            speeds = (1.0, *sorted((round(draw.uniform(SLOWEST, 1.0), 2) for _ in range(members - 1)), reverse=True))
            found.extend(_chosen(facts, image, speeds, reference))
    rows = facts.row_count(image.height_px)
    plans = (random_plan(draw, image.steps, rows) for _ in range(randoms))
    found.extend(_plain(facts, image, legal(plan, facts), kind=RANDOM) for plan in plans)
    return found


def _chosen(facts: ModelFacts, image: ImageSpec, speeds: tuple[float, ...], reference: Plan) -> Iterator[Case]:
    for quality in (Quality.BALANCED, Quality.FAST):
        request = described_fleet(facts, image, speeds).request(replace(image, quality=quality))
        plan, found = search_plan(request).chosen.plan, distortion_of(request)
        yield Case(
            kind=quality.value,
            devices=len(speeds),
            speeds=speeds,
            plan=plan,
            reference=reference,
            loss_db=policy_of(quality).loss_db,
            expected=found.plan_expected(plan) if found else None,
        )


def _plain(facts: ModelFacts, image: ImageSpec, plan: Plan, kind: str = DISPLACED) -> Case:
    found = prediction(facts, image)
    expected = found.plan_expected(plan) if found else None
    return Case(
        kind=kind, devices=len(plan.agents), speeds=(), plan=plan, reference=None, loss_db=None, expected=expected
    )


def prediction(facts: ModelFacts, image: ImageSpec) -> Distortion | None:
    """What the planner predicts pictures like one from."""
    return distortion_of(_request(facts, image, 2))


def displaced_plan(facts: ModelFacts, image: ImageSpec, members: int) -> Plan:
    """Plain displaced parallelism: equal rows, stride 1, after the warm-up of ``high``."""
    return equal_patches_plan(_request(facts, image, members))


def _request(facts: ModelFacts, image: ImageSpec, members: int) -> PlanRequest:
    return described_fleet(facts, image, (1.0,) * members).request(replace(image, quality=Quality.BALANCED))


def random_plan(draw: random.Random, steps: int, rows: int) -> Plan:
    """One to four members, rows that may move, any strides of 1 and 2 anywhere after the warm-up."""
    members = draw.choice((1, 2, 2, 3, 4))
    counts = _counts(draw, members, rows)
    warmup = draw.choice((1, 2, 4))
    segments = [_segment(0, warmup, counts, Exchange.SYNCHRONOUS, (1,) * members)]
    step = warmup
    while step < steps:
        length = min(draw.choice((2, 4, 6, 8)), steps - step)
        strides = draw.choice(((1,) * members, (2,) * members, tuple(draw.choice((1, 2)) for _ in range(members))))
        if length < 2:
            strides = (1,) * members
        length -= length % max(strides)
        if draw.random() < 0.3:
            counts = _counts(draw, members, rows)
        segments.append(_segment(step, step + length, counts, Exchange.DISPLACED, strides))
        step += length
    agents = segments[0].agents
    return Plan(version=1, begin_step=0, steps=steps, segments=tuple(segments), encoder=agents[0], decoder=agents[0])


def legal(plan: Plan, facts: ModelFacts) -> Plan:
    """The plan, with a synchronous step wherever rows move if the model's family needs one."""
    if not facts.resync_after_move:
        return plan
    return replace(plan, segments=tuple(resynchronised(plan.segments)))


def _counts(draw: random.Random, members: int, rows: int) -> tuple[int, ...]:
    cuts = [0, *sorted(draw.sample(range(1, rows), members - 1)), rows]
    return tuple(after - before for before, after in pairwise(cuts))


def _segment(begin: int, end: int, counts: tuple[int, ...], exchange: Exchange, strides: tuple[int, ...]) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=4,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=AgentId(f"device-{index}"), rows=held, stride=stride)
            for index, (held, stride) in enumerate(zip(ranges_from_counts(counts), strides, strict=True))
        ),
    )
