"""Devices of different arithmetic in one gang: an old card computes fp32 where the others compute bf16.

Activations travel in the dtype that the coordinator names, x and x0 in fp32.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm_agent.denoiser.loading import exchange_dtype_of, load_denoiser
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_coordinator.scheduling.planning.dtypes import exchanged_as
from polyrhythm_coordinator.scheduling.planning.message_counts import sent_bytes
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from tests.oracles.reference import relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import GangOptions, MemberRun, run_gang

ROUNDING = 0.1
"""Relative to the largest value: bf16 keeps 8 bits, and a random tiny model amplifies what is lost."""
IMAGE = ImageSpec(
    model="tiny",
    prompt="a red apple",
    width_px=128,  # oneDNN's bf16 kernel for AMX makes NaN of a strided convolution over two columns
    height_px=512,
    steps=8,
    seed=3,
    guidance=3.0,
    sampler=Sampler.DDIM,
    quality=Quality.EXACT,
)
AGENTS = agent_ids(2)


@pytest.fixture(params=["sd", "pixart"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def followed(row_count: int) -> Plan:
    """Synchronous steps, a strided body, synchronous steps with other rows."""
    fast, slow = 5 * row_count // 8, 3 * row_count // 8
    return plan(
        segment(0, 2, (fast, slow), beat_steps=1),
        segment(2, 6, (fast, slow), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=2),
        segment(6, 8, (row_count // 2, row_count // 2), beat_steps=1),
    )


def denoise(folder: Path, dtypes: tuple[torch.dtype, torch.dtype], exchange_dtype: str | None) -> list[MemberRun]:
    denoisers: dict[AgentId, Denoiser] = {
        agent: load_denoiser(folder, model="tiny", dtype=dtype) for agent, dtype in zip(AGENTS, dtypes, strict=True)
    }
    rows = denoisers[AGENTS[0]].geometry(IMAGE).row_count
    runs = run_gang(followed(rows), denoisers, IMAGE, GangOptions(exchange_dtype=exchange_dtype))
    return [runs[agent] for agent in AGENTS]


def test_all_members_end_with_the_same_picture_and_send_what_is_predicted(folder: Path) -> None:
    mixed = denoise(folder, (torch.bfloat16, torch.float32), "bfloat16")
    wide = denoise(folder, (torch.float32, torch.float32), "float32")
    for one, other in zip(mixed[0].states.values(), mixed[1].states.values(), strict=True):
        assert one.step == other.step
        assert torch.equal(one.x_BCHW, other.x_BCHW)
        assert torch.equal(one.x0_BCHW, other.x0_BCHW)
    for run, twice in zip(mixed, wide, strict=True):
        assert run.sent_bytes == run.predicted_bytes < twice.sent_bytes == twice.predicted_bytes
    assert 0 < relative_difference(mixed[0].states[8].x_BCHW, wide[0].states[8].x_BCHW) < ROUNDING


def test_the_picture_is_that_of_the_simulator_up_to_the_rounding_of_the_narrow_dtype(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float32)
    run = denoiser.start(IMAGE, denoiser.encode(IMAGE))
    simulated_BCHW = PlanSimulator(run).simulate(followed(run.geometry.row_count))[IMAGE.steps].x_BCHW
    mixed = denoise(folder, (torch.bfloat16, torch.float32), "bfloat16")[1].states[IMAGE.steps].x_BCHW
    assert 0 < relative_difference(mixed, simulated_BCHW) < ROUNDING


def test_the_coordinator_predicts_the_bytes_that_are_sent(folder: Path) -> None:
    runs = denoise(folder, (torch.bfloat16, torch.float32), "bfloat16")
    narrow, wide = (load_denoiser(folder, model="tiny", dtype=dtype).facts for dtype in (torch.bfloat16, torch.float32))
    workload = Workload(model="tiny", width_px=IMAGE.width_px, height_px=IMAGE.height_px, batch=2)
    profiles = tuple(
        Profile(agent=agent, workload=workload, fixed_s=0.0, per_row_s=1.0, encode_s=0.0, decode_s=0.0, samples=1)
        for agent in AGENTS
    )
    own_facts = dict(zip(AGENTS, (narrow, wide), strict=True))
    request = PlanRequest(image=IMAGE, facts=wide, own_facts=own_facts, profiles=profiles)
    plan = followed(request.row_count)
    assert sent_bytes(plan, request) == {agent: run.sent_bytes for agent, run in zip(AGENTS, runs, strict=True)}
    assert exchanged_as(own_facts.values()).dtype == "bfloat16"


def test_without_a_common_dtype_messages_do_not_fit(folder: Path) -> None:
    with pytest.raises(TransportError):  # of the member that notices, or of its peer, which is aborted
        denoise(folder, (torch.bfloat16, torch.float32), None)


def test_what_cannot_be_exchanged_in_is_refused(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    assert exchange_dtype_of("float16", denoiser) is torch.float16
    with pytest.raises(InvalidArgumentError, match="float64 cannot be mixed with arithmetic in float32"):
        exchange_dtype_of("float64", denoiser)
    with pytest.raises(InvalidArgumentError, match=r"must be one of float32, .* got 'int8'"):
        exchange_dtype_of("int8", denoiser)
