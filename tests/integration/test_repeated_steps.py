"""Steps that are run again: nobody is sent anything twice, nobody waits, and not a bit of the picture changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_agent.ports.step_judge import StepVerdict
from tests.tiny_models.families import FAMILIES
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import GangOptions, MemberRun, kept_members, run_gang

STEPS = 8
REJECTIONS = 2


@dataclass
class Rejecting:
    """Rejects some steps twice.

    Attributes:
        steps: that it rejects.
        seen: what was predicted in them, forward by forward.
    """

    steps: frozenset[int]
    seen: dict[int, list[Tensor]] = field(default_factory=dict)

    def __call__(self, step: int, prediction_BCHW: Tensor) -> StepVerdict:
        if step not in self.steps:
            return StepVerdict.ACCEPTED
        forwards = self.seen.setdefault(step, [])
        forwards.append(prediction_BCHW.clone())
        return StepVerdict.ACCEPTED if len(forwards) > REJECTIONS else StepVerdict.REPEAT


PLAN = plan(
    segment(0, 2, (7, 5, 4), beat_steps=1),
    segment(2, 6, (5, 6, 5), exchange=Exchange.DISPLACED, strides=(1, 2, 2), beat_steps=2),
    segment(6, 8, (8, 4, 4), exchange=Exchange.DISPLACED),
)
"""Rows move, so that members read versions of their own, too."""


def picture(family: str) -> tuple[Plan, ImageSpec]:
    tiny = FAMILIES[family]
    return tiny.plan(PLAN), tiny.image(sampler=Sampler.DPM_SOLVER_PP_2M, steps=STEPS)


def made(family: str, folder: Path, judges: Mapping[AgentId, Rejecting]) -> Mapping[AgentId, MemberRun]:
    followed, image = picture(family)
    options = GangOptions(judge=lambda agent: judges[agent]) if judges else GangOptions()
    return run_gang(followed, kept_members(folder, followed.agents, torch.float32), image, options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_that_is_rejected_twice_leaves_no_trace(family: str, folder: Path) -> None:
    """Each member rejects steps of its own: synchronous and displaced ones, the first and the last of a beat."""
    followed, _ = picture(family)
    rejected = ({0, 3, 6}, {1, 4}, {0, 2, 7})
    judges = {agent: Rejecting(frozenset(steps)) for agent, steps in zip(followed.agents, rejected, strict=False)}
    plain, disturbed = made(family, folder, {}), made(family, folder, judges)
    for agent, run in disturbed.items():
        assert set(run.states) == set(plain[agent].states)
        for step, state in run.states.items():
            assert torch.equal(state.x_BCHW, plain[agent].states[step].x_BCHW), f"{agent} at {step}"
            assert torch.equal(state.x0_BCHW, plain[agent].states[step].x0_BCHW), f"{agent} at {step}"
        assert run.sent_bytes == run.predicted_bytes
        beats = followed.beats()
        active = {step for beat in beats for step in beat.active_steps(agent)}
        forwards = judges[agent].seen
        assert Counter({step: len(seen) for step, seen in forwards.items()}) == dict.fromkeys(
            judges[agent].steps & active, REJECTIONS + 1
        )
        assert all(torch.equal(each, seen[0]) for seen in forwards.values() for each in seen)


def test_members_of_a_gang_may_reject_the_same_step(folder: Path) -> None:
    agents = agent_ids(3)
    judges = {agent: Rejecting(frozenset(range(STEPS))) for agent in agents}
    plain, disturbed = made("pixart", folder, {}), made("pixart", folder, judges)
    for agent in agents:
        assert torch.equal(disturbed[agent].states[STEPS].x_BCHW, plain[agent].states[STEPS].x_BCHW)
