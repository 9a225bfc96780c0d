"""A picture whose plan changes in the middle, by a newer plan or because a member dies, is the simulator's picture.

For the families whose layers need more than tokens of their neighbours, and for DiT, under both displaced policies. The
transformers' many other plans are in test_plans_taken_over. Tolerance: relative to max |latent|, fp64 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.session.events import BeatDone
from polyrhythm_agent.denoiser.layers.solo import NoObserver
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.reference import relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.tiny_models.families import FAMILIES
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import GangOptions, MemberRun, kept_members, run_gang

STEPS = 12
TOLERANCE = 1e-9
DISPLACED = Exchange.DISPLACED
AGENTS = agent_ids(3)
DIES = AGENTS[-1]
SURVIVORS = AGENTS[:-1]
FORWARDS_LIVED = 4
BLOCKS_LIVED = 3


BEFORE, AFTER, AFTER_LOSS = (7, 5, 4), (4, 3, 9), (11, 5)
"""Rows that a gang holds before and after the change."""


def image(family: str) -> ImageSpec:
    return FAMILIES[family].image(sampler=Sampler.DPM_SOLVER_PP_2M, steps=STEPS)


def high(counts: tuple[int, ...], *, begin_step: int = 0, version: int = 1) -> Plan:
    """Displaced at full rate after a synchronous warm-up."""
    return plan(
        segment(begin_step, begin_step + 2, counts, beat_steps=2),
        segment(begin_step + 2, STEPS, counts, exchange=DISPLACED, beat_steps=2),
        begin_step=begin_step,
        version=version,
    )


def balanced(counts: tuple[int, ...], *, begin_step: int = 0, version: int = 1) -> Plan:
    """The same with strides up to the last two steps."""
    strides = (1, *(2,) * (len(counts) - 1))
    return plan(
        segment(begin_step, begin_step + 2, counts, beat_steps=2),
        segment(begin_step + 2, STEPS - 2, counts, exchange=DISPLACED, strides=strides, beat_steps=2),
        segment(STEPS - 2, STEPS, counts, exchange=DISPLACED, beat_steps=2),
        begin_step=begin_step,
        version=version,
    )


POLICIES: Mapping[str, Callable[..., Plan]] = {"high": high, "balanced": balanced}


def gang(folder: Path) -> dict[AgentId, Denoiser]:
    return kept_members(folder, AGENTS, torch.float64)


def simulated(denoiser: Denoiser, image: ImageSpec, plans: tuple[Plan, ...]) -> dict[int, Tensor]:
    with torch.inference_mode():
        states = PlanSimulator(denoiser.start(image, denoiser.encode(image))).follow(plans)
    return {step: state.x_BCHW for step, state in states.items()}


def assert_boundaries(runs: Mapping[AgentId, MemberRun], expected: Mapping[int, Tensor]) -> None:
    assert all(STEPS in run.states for run in runs.values())
    for run in runs.values():
        for step, state in run.states.items():
            assert relative_difference(state.x_BCHW, expected[step]) <= TOLERANCE, f"x at {step}"


@pytest.mark.parametrize(("family", "policy"), [("sd", "high"), ("sdxl", "balanced"), ("dit", "high")])
def test_a_newer_plan_in_the_middle(folder: Path, family: str, policy: str) -> None:
    members, plan_of = gang(folder), POLICIES[policy]
    first, second = plan_of(BEFORE), plan_of(AFTER, begin_step=6, version=2)
    runs = run_gang(first, members, image(family), GangOptions(newer={agent: {2: second} for agent in AGENTS}))
    assert_boundaries(runs, simulated(members[AGENTS[0]], image(family), (first, second)))
    for run in runs.values():
        versions = [event.report.plan_version for event in run.events if isinstance(event, BeatDone)]
        assert versions == [1, 1, 1, 2, 2, 2]


class Dying(NoObserver):
    """An observer whose member dies in the middle of a forward."""

    def __init__(self) -> None:
        self._first = ""
        self._forwards = 0
        self._blocks = 0

    def begin_block(self, block: LayerId) -> None:
        self._first = self._first or block
        if block == self._first:
            self._forwards += 1
            self._blocks = 0
        self._blocks += 1
        if self._forwards > FORWARDS_LIVED and self._blocks == BLOCKS_LIVED:
            raise SystemExit("killed")


def observer_of(agent: AgentId) -> BlockObserver:
    return Dying() if agent == DIES else NoObserver()


@pytest.mark.parametrize(("family", "policy"), [("sd", "balanced"), ("sdxl", "high"), ("dit", "balanced")])
def test_a_member_that_dies_in_the_middle(folder: Path, family: str, policy: str) -> None:
    """The survivors go on from the newest boundary that all of them hold, as one does that the coordinator names."""
    members, plan_of = gang(folder), POLICIES[policy]
    first = plan_of(BEFORE)
    hurt = run_gang(first, members, image(family), GangOptions(observer=observer_of, keep_errors=True))
    assert isinstance(hurt[DIES].error, SystemExit)
    assert all(isinstance(hurt[agent].error, TransportError) for agent in SURVIVORS)
    boundary = min(max(hurt[agent].states) for agent in SURVIVORS)
    assert 2 <= boundary <= STEPS - 4
    second = plan_of(AFTER_LOSS, begin_step=boundary, version=2)
    survivors = {agent: members[agent] for agent in SURVIVORS}
    runs = run_gang(second, survivors, image(family), GangOptions(start=hurt[SURVIVORS[0]].states[boundary]))
    assert_boundaries(runs, simulated(members[AGENTS[0]], image(family), (first, second)))
