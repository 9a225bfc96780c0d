"""The updates obey the algebra they come from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyrhythm_agent.denoiser.sampling.grid import NoiseLevel
from polyrhythm_agent.denoiser.sampling.updates import (
    PredictionKind,
    SecondOrder,
    clean_picture,
    ddim,
    dpm_solver_pp_2m,
    euler_ancestral,
    noise,
)

CLEAN_LEVEL = NoiseLevel(alpha=1.0, sigma=0.0)


def level(angle: float) -> NoiseLevel:
    return NoiseLevel(alpha=math.cos(angle), sigma=math.sin(angle))


def random_BCHW(seed: int, rows: int = 4) -> Tensor:
    return torch.randn(1, 2, rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", list(PredictionKind))
def test_every_prediction_kind_names_the_same_picture_and_noise(kind: PredictionKind) -> None:
    data = 0.5  # deviation of the data, which EDM's models know
    here = {
        PredictionKind.FLOW: NoiseLevel(alpha=0.3, sigma=0.7),
        PredictionKind.EDM: NoiseLevel(alpha=0.6 / data, sigma=0.8),
        PredictionKind.EDM_VELOCITY: NoiseLevel(alpha=0.6 / data, sigma=0.8),
    }.get(kind, level(1.1))
    x0, eps = random_BCHW(1), random_BCHW(2)
    x = here.alpha * x0 + here.sigma * eps
    prediction = {
        PredictionKind.EPSILON: eps,
        PredictionKind.CLEAN: x0,
        PredictionKind.VELOCITY: here.alpha * eps - here.sigma * x0,
        PredictionKind.FLOW: eps - x0,
        # x0 = c_skip * X + c_out * F of X = x0 + s * noise (Karras et al. 2022, table 1).
        PredictionKind.EDM: (x0 - data * 0.6 * x) / (data * 0.8),
        PredictionKind.EDM_VELOCITY: (data * 0.6 * x - x0) / (data * 0.8),
    }[kind]
    assert_close(clean_picture(kind, x, prediction, here), x0)
    assert_close(noise(kind, x, prediction, here), eps)


def test_ddim_over_two_points_is_the_direct_formula_and_composes() -> None:
    here, there, beyond = level(1.3), level(0.9), level(0.4)
    x0, eps = random_BCHW(1), random_BCHW(2)
    x = here.alpha * x0 + here.sigma * eps
    ratio = beyond.sigma / here.sigma
    direct = ratio * x + (beyond.alpha - here.alpha * ratio) * x0
    assert_close(ddim(x0, eps, beyond), direct)
    # A model that keeps its prediction is on a straight line: one jump is two steps.
    halfway = ddim(x0, eps, there)
    halfway_x0 = clean_picture(PredictionKind.EPSILON, halfway, eps, there)
    assert_close(ddim(halfway_x0, eps, beyond), direct)


def test_ancestral_euler_keeps_the_amount_of_noise_and_the_picture() -> None:
    here, there, x0 = level(1.3), level(0.9), random_BCHW(1)
    nothing, one = torch.zeros_like(x0), torch.ones_like(x0)
    kept = euler_ancestral(nothing, one, here, there, nothing)
    fresh = euler_ancestral(nothing, nothing, here, there, one)
    assert_close(kept**2 + fresh**2, torch.full_like(x0, there.sigma**2))
    assert_close(euler_ancestral(x0, nothing, here, there, nothing), there.alpha * x0)
    assert_close(euler_ancestral(x0, one, here, CLEAN_LEVEL, one), x0)


def second_order(x: Tensor, x0: Tensor, history: Tensor, lambdas: list[float | None], target: NoiseLevel) -> Tensor:
    return dpm_solver_pp_2m(
        x, x0, level(0.9), target, history, lambdas, latent_rows_per_unit=2, second_order=SecondOrder.MIDPOINT
    )


def test_without_history_the_solver_is_ddim() -> None:
    here, there = level(0.9), level(0.4)
    x, x0 = random_BCHW(1), random_BCHW(2)
    eps = (x - here.alpha * x0) / here.sigma
    broken = torch.full_like(x, math.nan)
    assert_close(second_order(x, x0, broken, [None, None], there), ddim(x0, eps, there))


def test_history_that_agrees_adds_nothing() -> None:
    x, x0, there = random_BCHW(1), random_BCHW(2), level(0.4)
    plain = second_order(x, x0, x0, [None, None], there)
    assert_close(second_order(x, x0, x0.clone(), [-2.0, -1.0], there), plain)


def test_a_row_without_history_does_not_read_it() -> None:
    x, x0, there = random_BCHW(1), random_BCHW(2), level(0.4)
    history = random_BCHW(3)
    history[:, :, :2] = math.inf
    mixed = second_order(x, x0, history, [None, -2.0], there)
    assert_close(mixed[:, :, :2], second_order(x, x0, x0, [None, None], there)[:, :, :2])
    assert_close(mixed[:, :, 2:], second_order(x, x0, history, [-2.0, -2.0], there)[:, :, 2:])


def test_the_last_jump_ends_at_the_predicted_picture() -> None:
    x, x0 = random_BCHW(1), random_BCHW(2)
    assert_close(second_order(x, x0, x, [None, None], CLEAN_LEVEL), x0)
    assert_close(ddim(x0, x, CLEAN_LEVEL), x0)


def test_second_order_cannot_reach_the_clean_end() -> None:
    x = random_BCHW(1)
    with pytest.raises(AssertionError, match="finite noise levels"):
        second_order(x, x, x, [-2.0, None], CLEAN_LEVEL)


def test_a_linear_picture_is_integrated_better_with_history() -> None:
    # x0 linear in lambda: the exact solution of the probability flow is known (Lu et al. 2022, equation 9).
    lambdas = (-0.6, -0.2, 0.3)

    def picture(value: float) -> float:
        return 1.0 + 0.7 * value

    def at(value: float) -> NoiseLevel:
        alpha = 1 / math.sqrt(1 + math.exp(-2 * value))
        return NoiseLevel(alpha=alpha, sigma=alpha * math.exp(-value))

    here, there = at(lambdas[1]), at(lambdas[2])
    x = torch.full((1, 1, 1, 1), 0.2, dtype=torch.float64)
    x0, history = torch.full_like(x, picture(lambdas[1])), torch.full_like(x, picture(lambdas[0]))
    step = lambdas[2] - lambdas[1]
    integral = picture(lambdas[1]) * -math.expm1(-step) + 0.7 * (step + math.expm1(-step))
    exact = there.sigma / here.sigma * x + there.alpha * integral

    def error(known: list[float | None], weight: SecondOrder) -> float:
        moved = dpm_solver_pp_2m(x, x0, here, there, history, known, latent_rows_per_unit=1, second_order=weight)
        return float((moved - exact).abs())

    assert error([lambdas[0]], SecondOrder.HEUN) < 1e-14
    assert error([lambdas[0]], SecondOrder.MIDPOINT) < 0.2 * error([None], SecondOrder.MIDPOINT)


def test_the_state_keeps_its_dtype() -> None:
    x = random_BCHW(1).float()
    assert second_order(x, x, x, [-2.0, None], level(0.4)).dtype is torch.float32
    assert ddim(x, x, level(0.4)).dtype is torch.float32


def test_the_last_unit_may_be_short_but_not_missing() -> None:
    x = random_BCHW(1, rows=3)
    assert second_order(x, x, x, [-2.0, None], level(0.4)).shape == x.shape
    with pytest.raises(AssertionError, match="1 row units of 2 latent rows for 3 latent rows"):
        second_order(x, x, x, [-2.0], level(0.4))
