"""Sampler updates as pure functions of tensors: DDIM, DPM-Solver++ 2M, ancestral Euler, LCM between two noise levels.

Euler's method on the probability flow is DDIM in other words: x moves along the line through x0 and the noise, whether
alpha^2 + sigma^2 = 1 or alpha + sigma = 1. TCD without fresh noise is DDIM too, on a grid of its own.
Every update is pointwise, so rows may jump differently. Coefficients are float64 numbers, applied in the dtype of the
state. Must not know a grid, a model or a scheduler.

Shape letters: B C H W as in the ports; U row units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

import torch
from torch import Tensor

from polyrhythm_agent.denoiser.sampling.grid import NoiseLevel


class PredictionKind(StrEnum):
    """What a model predicts; the values are those of diffusers' scheduler configs."""

    EPSILON = "epsilon"
    VELOCITY = "v_prediction"
    CLEAN = "sample"
    FLOW = "flow_prediction"
    """noise - x0, where alpha + sigma = 1 (flow matching)."""
    EDM = "edm"
    """What is added to a share of x (Karras et al. 2022, equation 7), where (alpha d)^2 + sigma^2 = 1 for data of
    deviation d."""
    EDM_VELOCITY = "edm_v_prediction"
    """The same with the opposite sign: velocity, where d = 1."""


class SecondOrder(StrEnum):
    """How DPM-Solver++ 2M weighs the difference of two clean predictions; values of diffusers' configs."""

    MIDPOINT = "midpoint"
    HEUN = "heun"


def clean_picture(kind: PredictionKind, x_BCHW: Tensor, prediction_BCHW: Tensor, level: NoiseLevel) -> Tensor:
    """x0 from x at a noise level and the model's prediction there."""
    match kind:
        case PredictionKind.EPSILON:
            return (x_BCHW - level.sigma * prediction_BCHW) / level.alpha
        case PredictionKind.VELOCITY:
            return level.alpha * x_BCHW - level.sigma * prediction_BCHW
        case PredictionKind.CLEAN:
            return prediction_BCHW
        case PredictionKind.FLOW:
            return x_BCHW - level.sigma * prediction_BCHW
        case PredictionKind.EDM | PredictionKind.EDM_VELOCITY:
            signal = math.sqrt((1.0 - level.sigma) * (1.0 + level.sigma))  # alpha times the deviation of the data
            scale = signal / level.alpha
            sigma = level.sigma if kind is PredictionKind.EDM else -level.sigma
            return scale * (signal * x_BCHW + sigma * prediction_BCHW)
        case _:
            assert_never(kind)


def noise(kind: PredictionKind, x_BCHW: Tensor, prediction_BCHW: Tensor, level: NoiseLevel) -> Tensor:
    """The noise in x at a noise level from the model's prediction there."""
    match kind:
        case PredictionKind.EPSILON:
            return prediction_BCHW
        case PredictionKind.VELOCITY:
            return level.alpha * prediction_BCHW + level.sigma * x_BCHW
        case PredictionKind.CLEAN:
            return (x_BCHW - level.alpha * prediction_BCHW) / level.sigma
        case PredictionKind.FLOW:
            return x_BCHW + level.alpha * prediction_BCHW
        case PredictionKind.EDM | PredictionKind.EDM_VELOCITY:
            return (x_BCHW - level.alpha * clean_picture(kind, x_BCHW, prediction_BCHW, level)) / level.sigma
        case _:
            assert_never(kind)


def ddim(x0_BCHW: Tensor, noise_BCHW: Tensor, target: NoiseLevel) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, equation 12 with sigma = 0)."""
    return target.alpha * x0_BCHW + target.sigma * noise_BCHW


def euler_ancestral(
    x0_BCHW: Tensor, noise_BCHW: Tensor, source: NoiseLevel, target: NoiseLevel, fresh_noise_BCHW: Tensor
) -> Tensor:
    """Ancestral Euler (Karras et al. 2022, as in k-diffusion): some of the noise is replaced by fresh noise.

    In units of alpha, the noise falls to ``down`` and is brought back up to the target's by ``up``.

    Args:
        x0_BCHW: clean picture predicted at the source.
        noise_BCHW: noise predicted there.
        source: where x is.
        target: where it goes.
        fresh_noise_BCHW: unit noise for the own rows.
    """
    ratio = target.sigma * source.alpha / (target.alpha * source.sigma)
    down, up = target.sigma * ratio, target.sigma * math.sqrt(1.0 - ratio**2)
    return target.alpha * x0_BCHW + down * noise_BCHW + up * fresh_noise_BCHW


def lcm(clean_BCHW: Tensor, target: NoiseLevel, fresh_noise_BCHW: Tensor) -> Tensor:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3): the noise is all new.

    Args:
        clean_BCHW: what the consistency function says at the source.
        target: where it goes; at no noise none is added.
        fresh_noise_BCHW: unit noise for the own rows.
    """
    return target.alpha * clean_BCHW + target.sigma * fresh_noise_BCHW


def dpm_solver_pp_2m(
    x_BCHW: Tensor,
    x0_BCHW: Tensor,
    source: NoiseLevel,
    target: NoiseLevel,
    history_x0_BCHW: Tensor,
    history_lambda_U: Sequence[float | None],
    *,
    latent_rows_per_unit: int,
    second_order: SecondOrder,
) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, algorithm 2), each row unit with its own history; first order without one.

    Args:
        x_BCHW: at the source.
        x0_BCHW: clean picture predicted there.
        source: where x is.
        target: where it goes.
        history_x0_BCHW: clean picture predicted last; not read where a row has no history.
        history_lambda_U: lambda of that prediction for each row unit, None for no history.
        latent_rows_per_unit: latent rows of a unit; the last unit may be short.
        second_order: weight of the difference.
    """
    step = target.half_log_snr - source.half_log_snr
    clean_weight = -target.alpha * math.expm1(-step)
    first_order_BCHW = (target.sigma / source.sigma) * x_BCHW + clean_weight * x0_BCHW
    if all(value is None for value in history_lambda_U):
        return first_order_BCHW
    curvature = _curvature_weight(target, step, second_order)
    weight_U = [
        0.0 if value is None else curvature * step / (source.half_log_snr - value) for value in history_lambda_U
    ]
    if not all(map(math.isfinite, weight_U)):
        raise AssertionError(f"a second-order step needs finite noise levels: weights {weight_U}")
    weight_11H1 = _per_latent_row(torch.tensor(weight_U, dtype=x_BCHW.dtype), x_BCHW, latent_rows_per_unit)
    # Where a row has no history the difference may hold anything, infinities included: zero times it is no zero.
    return first_order_BCHW + torch.where(weight_11H1 == 0, 0, weight_11H1 * (x0_BCHW - history_x0_BCHW))


def _curvature_weight(target: NoiseLevel, step: float, second_order: SecondOrder) -> float:
    match second_order:
        case SecondOrder.MIDPOINT:
            return -0.5 * target.alpha * math.expm1(-step)
        case SecondOrder.HEUN:
            return target.alpha * (math.expm1(-step) / step + 1.0)
        case _:
            assert_never(second_order)


def _per_latent_row(value_U: Tensor, like_BCHW: Tensor, latent_rows_per_unit: int) -> Tensor:
    rows = like_BCHW.shape[2]
    value_H = value_U.repeat_interleave(latent_rows_per_unit)[:rows]
    if len(value_H) != rows:
        raise AssertionError(f"{len(value_U)} row units of {latent_rows_per_unit} latent rows for {rows} latent rows")
    return value_H.to(like_BCHW.device).view(1, 1, rows, 1)
