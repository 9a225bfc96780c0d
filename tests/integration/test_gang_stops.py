"""A gang that is stopped: cancel acts on all at one boundary, a lost member wakes the others, a boundary is enough."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.epoch.boundary_state import BoundaryState
from polyrhythm_agent.epoch.step_loop import StopRequest
from polyrhythm_agent.errors import EpochCancelledError, TransportError
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from tests.values.plans import agent_ids, exact_plan, plan, segment
from tests.worlds.gang import GangOptions, load_members, run_gang

STEPS = 12
SPEC = ImageSpec(
    model="tiny",
    prompt="a red apple",
    width_px=128,
    height_px=128,
    steps=STEPS,
    seed=3,
    guidance=5.0,
    sampler=Sampler.DPM_SOLVER_PP_2M,
    quality=Quality.EXACT,
)


class AtBlock:
    """An observer that does something when a member has begun so many blocks."""

    def __init__(self, count: int, act) -> None:  # noqa: ANN001
        self._left = count
        self._act = act

    def begin_block(self, block: LayerId) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()

    def end_block(self, block: LayerId) -> None:
        pass


def test_one_member_cancels_and_all_stop_at_the_same_boundary(folder: Path) -> None:
    agents = agent_ids(3)
    stop = StopRequest()
    followed = plan(
        segment(0, 2, (6, 6, 4), beat_steps=2),
        segment(2, 12, (6, 6, 4), exchange=Exchange.DISPLACED, beat_steps=2),
    )

    def observer(agent: AgentId) -> AtBlock:
        return AtBlock(14 if agent == agents[1] else 0, lambda: setattr(stop, "cancelled", True))

    with pytest.raises(EpochCancelledError, match="stopped at step 4"):
        run_gang(
            followed,
            load_members(folder, agents, torch.float32),
            SPEC,
            GangOptions(observer=observer, stops={agents[1]: stop}),
        )


def test_a_lost_member_ends_every_wait_at_once(folder: Path) -> None:
    agents = agent_ids(2)
    network = InProcessNetwork(2)
    transports = tuple(network.transport(rank) for rank in range(2))

    def observer(agent: AgentId) -> AtBlock:
        return AtBlock(9 if agent == agents[0] else 0, transports[0].abort)

    begin_s = time.perf_counter()
    with pytest.raises(TransportError):
        run_gang(
            exact_plan(STEPS, (8, 8)),
            load_members(folder, agents, torch.float32),
            SPEC,
            GangOptions(transports=transports, observer=observer),
        )
    assert time.perf_counter() - begin_s < 30  # far below any time-out of a transport


@pytest.mark.parametrize("begin_step", [4, 8])
def test_any_held_boundary_is_enough_for_others_to_go_on(folder: Path, begin_step: int) -> None:
    """Two agents make the first steps, three others the rest; the picture is one device's."""
    whole = run_gang(exact_plan(STEPS, (16,)), load_members(folder, agent_ids(1), torch.float32), SPEC)
    reference_BCHW = whole[AgentId("agent-0")].states[STEPS].x_BCHW
    first = run_gang(exact_plan(STEPS, (9, 7)), load_members(folder, agent_ids(2), torch.float32), SPEC)
    state: BoundaryState = first[AgentId("agent-1")].states[begin_step]
    rest = plan(segment(begin_step, STEPS, (4, 7, 5), beat_steps=2), begin_step=begin_step)
    resumed = run_gang(rest, load_members(folder, agent_ids(3), torch.float32), SPEC, GangOptions(start=state))
    final_BCHW = resumed[AgentId("agent-2")].states[STEPS].x_BCHW
    assert float((final_BCHW - reference_BCHW).abs().max()) <= 1e-5 * max(1.0, float(reference_BCHW.abs().max()))
