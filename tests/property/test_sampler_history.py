"""Rows of one patch may look back to different steps: each then follows the scalar formula of its own history."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers import DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling, PictureSampling

STEPS = 20
UNIT = 2
SAMPLINGS = {
    name: ModelSampling({"_class_name": DPMSolverMultistepScheduler.__name__, **options}).start(
        Sampler.DPM_SOLVER_PP_2M, STEPS, UNIT
    )
    for name, options in {
        "ends clean": {},
        "ends at sigma_min": {"final_sigmas_type": "sigma_min"},
        "heun": {"solver_type": "heun"},
    }.items()
}


def scalar_update(
    sampling: PictureSampling, x: float, prediction: float, step: int, next_step: int, old_x0: float, old_step: int
) -> tuple[float, float]:
    """Algorithm 2 of Lu et al. 2022 for one number, written from the paper's formula with its own exponentials."""
    here, there = sampling.grid.departures[step], sampling.grid.arrivals[next_step]
    x0 = (x - here.sigma * prediction) / here.alpha
    if there.sigma == 0.0:
        return x0, x0
    step_size = math.log(there.alpha / there.sigma) - math.log(here.alpha / here.sigma)
    shrink = math.exp(-step_size) - 1.0
    moved = there.sigma / here.sigma * x - there.alpha * shrink * x0
    if old_step < 0:
        return moved, x0
    old = sampling.grid.departures[old_step]
    ratio = (math.log(here.alpha / here.sigma) - math.log(old.alpha / old.sigma)) / step_size
    difference = (x0 - old_x0) / ratio
    if sampling.second_order == "heun":
        return moved + there.alpha * (shrink / step_size + 1.0) * difference, x0
    return moved - 0.5 * there.alpha * shrink * difference, x0


@st.composite
def jumps(draw: st.DrawFn) -> tuple[int, int, list[int], int]:
    """A jump, the history step of each row unit, and how many latent rows the last unit lacks."""
    step = draw(st.integers(0, STEPS - 1))
    next_step = draw(st.integers(step + 1, min(STEPS, step + 4)))
    histories = draw(st.lists(st.integers(-1, step - 1), min_size=1, max_size=6))
    return step, next_step, histories, draw(st.integers(0, UNIT - 1))


def rows_BCHW(seed: int, height: int) -> Tensor:
    return torch.randn(1, 3, height, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def update_by_rows(
    sampling: PictureSampling, tensors: Sequence[Tensor], step: int, next_step: int, histories: list[int]
) -> tuple[Tensor, Tensor]:
    x, prediction, old = tensors
    moved, x0 = torch.empty_like(x), torch.empty_like(x)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).tolist():
        place = tuple(index)
        moved[place], x0[place] = scalar_update(
            sampling,
            float(x[place]),
            float(prediction[place]),
            step,
            next_step,
            float(old[place]),
            histories[place[2] // UNIT],
        )
    return moved, x0


@given(jump=jumps(), name=st.sampled_from(sorted(SAMPLINGS)), seed=st.integers(0, 2**16))
def test_each_row_follows_its_own_history(jump: tuple[int, int, list[int], int], name: str, seed: int) -> None:
    step, next_step, histories, lacking = jump
    height = UNIT * len(histories) - lacking
    tensors = [rows_BCHW(seed + index, height) for index in range(3)]
    sampling = SAMPLINGS[name]
    expected, expected_x0 = update_by_rows(sampling, tensors, step, next_step, histories)
    x, prediction, old = tensors
    moved, x0 = sampling.advance(x, prediction, step, next_step, old, histories)
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(x0, expected_x0, rtol=1e-10, atol=1e-10)


@given(jump=jumps(), seed=st.integers(0, 2**16))
def test_a_patch_is_cut_without_a_seam(jump: tuple[int, int, list[int], int], seed: int) -> None:
    step, next_step, histories, _ = jump
    sampling = SAMPLINGS["ends clean"]
    x, prediction, old = (rows_BCHW(seed + index, UNIT * len(histories)) for index in range(3))
    whole, whole_x0 = sampling.advance(x, prediction, step, next_step, old, histories)
    for unit, history in enumerate(histories):
        own = slice(UNIT * unit, UNIT * (unit + 1))
        moved, x0 = sampling.advance(x[:, :, own], prediction[:, :, own], step, next_step, old[:, :, own], [history])
        assert torch.equal(moved, whole[:, :, own])
        assert torch.equal(x0, whole_x0[:, :, own])
