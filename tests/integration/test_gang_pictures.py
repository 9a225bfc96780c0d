"""The distributed picture is the right one: `exact` is diffusers', any other plan is the simulator's, step by step.

Tolerances: relative to max |latent|, fp32 1e-5 and fp64 1e-9. The measured differences are a thousandth of it in fp64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.reference import SCHEDULERS, plain_latent, plain_pipeline, relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.tiny_models.families import FAMILIES, HALVES, choice_id
from tests.tiny_models.transformers import BETA_END, tiny_pixart_folder
from tests.values.plans import agent_ids, exact_plan, plan, segment
from tests.worlds.gang import kept_members, load_members, run_gang

STEPS = 12
EXACT_STEPS = 8
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
DISPLACED = Exchange.DISPLACED


def noise_of(denoiser: Denoiser, spec: ImageSpec) -> Tensor:
    """The initial latent of a picture."""
    with torch.inference_mode():
        return denoiser.start(spec, denoiser.encode(spec)).initial_noise()


def assert_all_members_agree(runs: dict, steps: int) -> Tensor:
    finals = [run.states[steps].x_BCHW for run in runs.values()]
    for final_BCHW in finals[1:]:
        assert torch.equal(final_BCHW, finals[0])
    return finals[0]


@cache
def plain_picture(folder: Path, spec: ImageSpec, dtype: torch.dtype) -> Tensor:
    """The clean latent of diffusers' own pipeline; the same for every split."""
    (member,) = kept_members(folder, agent_ids(1), dtype).values()
    return plain_latent(plain_pipeline(folder, spec.sampler, dtype), spec, noise_of(member, spec))


EXACT_COUNTS = {16: ((16,), (11, 5), (9, 1, 6), (4, 7, 2, 3)), 24: ((24,), (5, 19), (13, 4, 7), (10, 1, 6, 7))}


EXACT = [(members, rows, *HALVES[(members + rows // 8) % 2]) for members in (1, 2, 3, 4) for rows in (16, 24)]
"""Every number of members with every height, each of them with both dtypes."""


@pytest.mark.parametrize(("members", "rows", "dtype", "sampler"), EXACT, ids=choice_id)
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_is_the_picture_of_plain_diffusers(
    folder: Path,
    family: str,
    record_property: Callable[[str, object], None],
    members: int,
    rows: int,
    dtype: torch.dtype,
    sampler: Sampler,
) -> None:
    spec = FAMILIES[family].image(rows=rows, sampler=sampler, steps=EXACT_STEPS)
    counts = EXACT_COUNTS[rows][members - 1]
    runs = run_gang(exact_plan(EXACT_STEPS, counts), kept_members(folder, agent_ids(members), dtype), spec)
    difference = relative_difference(assert_all_members_agree(runs, EXACT_STEPS), plain_picture(folder, spec, dtype))
    record_property("difference", difference)
    assert difference <= TOLERANCES[dtype]


MOVING_PLANS = {
    "high": plan(
        segment(0, 4, (10, 6), beat_steps=2),
        segment(4, 12, (9, 7), exchange=DISPLACED, beat_steps=4),
    ),
    "balanced": plan(
        segment(0, 2, (11, 5), beat_steps=1),
        segment(2, 10, (8, 8), exchange=DISPLACED, strides=(1, 2), beat_steps=4),
        segment(10, 12, (11, 5), exchange=DISPLACED, beat_steps=2),
    ),
    "three agents": plan(
        segment(0, 2, (6, 6, 4), beat_steps=1),
        segment(2, 6, (4, 5, 7), exchange=DISPLACED, strides=(1, 2, 2), beat_steps=2),
        segment(6, 10, (7, 8, 1), exchange=DISPLACED, strides=(1, 1, 2), beat_steps=2),
        segment(10, 12, (6, 7, 3), exchange=DISPLACED, beat_steps=2),
    ),
    "drained and back": plan(
        segment(0, 2, (8, 8), beat_steps=2),
        segment(2, 6, (16, 0), exchange=DISPLACED, strides=(1, 1), beat_steps=2),
        segment(6, 10, (7, 9), exchange=DISPLACED, strides=(1, 2), beat_steps=2),
        segment(10, 12, (12, 4), beat_steps=2),
    ),
    "four agents": plan(
        segment(0, 2, (4, 4, 4, 4), beat_steps=2),
        segment(2, 8, (2, 7, 4, 3), exchange=DISPLACED, strides=(1, 2, 1, 2), beat_steps=2),
        segment(8, 12, (5, 3, 6, 2), exchange=DISPLACED, beat_steps=4),
    ),
}
"""Plans whose rows change between segments."""

FOLLOWED = [
    (family, name, *HALVES[(i + j) % 2]) for i, family in enumerate(FAMILIES) for j, name in enumerate(MOVING_PLANS)
]
"""Every family and every plan with both dtypes."""


@pytest.mark.parametrize(("family", "name", "dtype", "sampler"), FOLLOWED, ids=choice_id)
def test_any_plan_is_the_simulators_picture_at_every_boundary(
    folder: Path, family: str, name: str, dtype: torch.dtype, sampler: Sampler
) -> None:
    spec = FAMILIES[family].image(sampler=sampler, steps=STEPS)
    followed = FAMILIES[family].plan(MOVING_PLANS[name])
    runs = run_gang(followed, kept_members(folder, followed.agents, dtype), spec)
    assert_all_members_agree(runs, STEPS)
    (denoiser,) = kept_members(folder, agent_ids(1), dtype).values()
    simulated = PlanSimulator(denoiser.start(spec, denoiser.encode(spec))).simulate(followed)
    for run in runs.values():
        assert run.sent_bytes == run.predicted_bytes > 0
        assert set(run.states) == {beat.end_step for beat in followed.beats()}
        for step, state in run.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCES[dtype], f"x at {step}"
            assert relative_difference(state.x0_BCHW, simulated[step].x0_BCHW) <= TOLERANCES[dtype], f"x0 at {step}"


OTHER_SCHEDULERS: dict[Sampler, Any] = {
    Sampler.EULER: EulerDiscreteScheduler(beta_end=BETA_END),
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler(beta_end=BETA_END),
    Sampler.FLOW_EULER: FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=16),
    Sampler.LCM: LCMScheduler(beta_end=BETA_END, beta_schedule="linear"),
    Sampler.TCD: TCDScheduler(beta_end=BETA_END, beta_schedule="linear"),
}


@pytest.mark.parametrize(
    ("sampler", "dtype"), [(sampler, dtype) for sampler in OTHER_SCHEDULERS for dtype in SCHEDULERS[sampler]]
)
def test_a_gang_paints_the_picture_of_other_samplers(tmp_path: Path, dtype: torch.dtype, sampler: Sampler) -> None:
    folder = tiny_pixart_folder(tmp_path / "m", scheduler=OTHER_SCHEDULERS[sampler])
    spec = FAMILIES["pixart"].image(sampler=sampler, rows=24, steps=EXACT_STEPS)
    denoisers = load_members(folder, agent_ids(3), dtype)
    runs = run_gang(exact_plan(EXACT_STEPS, (13, 4, 7)), denoisers, spec)
    final_BCHW = assert_all_members_agree(runs, EXACT_STEPS)
    reference_BCHW = plain_latent(plain_pipeline(folder, sampler, dtype), spec, final_BCHW)
    assert relative_difference(final_BCHW, reference_BCHW) <= TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        (Sampler.EULER, "three agents"),
        (Sampler.EULER_ANCESTRAL, "high"),
        (Sampler.FLOW_EULER, "three agents"),
        (Sampler.LCM, "high"),
        (Sampler.TCD, "three agents"),
    ],
)
def test_other_samplers_pictures_by_any_plan_are_the_simulators(tmp_path: Path, sampler: Sampler, name: str) -> None:
    folder = tiny_pixart_folder(tmp_path / "m", scheduler=OTHER_SCHEDULERS[sampler])
    spec, followed = FAMILIES["pixart"].image(sampler=sampler, steps=STEPS), MOVING_PLANS[name]
    runs = run_gang(followed, load_members(folder, followed.agents, torch.float64), spec)
    final_BCHW = assert_all_members_agree(runs, STEPS)
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float64)
    simulated = PlanSimulator(denoiser.start(spec, denoiser.encode(spec))).simulate(followed)
    assert relative_difference(final_BCHW, simulated[STEPS].x_BCHW) <= TOLERANCES[torch.float64]
