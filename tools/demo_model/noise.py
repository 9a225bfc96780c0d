"""The noise schedule of the demo models and the error of a prediction under it.

Owns the schedule's betas and the weight of a noise level in the loss. Must not know an architecture.

The denoiser predicts the noise; a picture's loss is weighted by clamp(SNR, 0.1, 5) / SNR, at most 100. The upper bound
of the SNR is that of Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy", section 3.4. The
lower bound is ours: where there is almost only noise, the name decides almost everything, and an error of the predicted
noise hardly shows it.

Shape legend: B pictures, C latent channels, H, W latent pixels, T timesteps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

MIN_SNR_GAMMA = 5.0
SNR_FLOOR = 0.1
MOST_WEIGHT = 100.0

SCHEDULE: dict[str, Any] = {
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
}
"""Of PixArt. That of Stable Diffusion leaves 7 % of the picture at the last step: too much for plain backgrounds, whose
mean is all that is left of them there."""


def signal_shares() -> Tensor:
    """Cumulative product of alphas, ``[T]``: the share of the picture in the variance."""
    return DDPMScheduler(**SCHEDULE).alphas_cumprod


def noise_errors(
    predict: Callable[[Tensor, Tensor], Tensor],
    latent_BCHW: Tensor,
    signal_share_T: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Squared error of the predicted noise, and its weight in the training's loss; ``[B]`` each.

    Args:
        predict: The noise in latents ``[B, C, H, W]`` at timesteps ``[B]``.
        latent_BCHW: Clean, scaled latents.
        signal_share_T: Cumulative product of alphas for each of the schedule's steps.
        generator: Source of steps and noise.
    """
    count, steps = len(latent_BCHW), len(signal_share_T)
    # Stratified: one step out of each of B equal stretches, so that the loss of batches varies less.
    place_B = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    timestep_B = (place_B * steps).long().clamp(max=steps - 1)
    share_B = signal_share_T[timestep_B]
    noise_BCHW = torch.randn(latent_BCHW.shape, generator=generator)
    noisy_BCHW = (
        share_B.sqrt()[:, None, None, None] * latent_BCHW + (1 - share_B).sqrt()[:, None, None, None] * noise_BCHW
    )
    with torch.autocast("cpu", torch.bfloat16):
        predicted_BCHW = predict(noisy_BCHW, timestep_B)
    error_B = (predicted_BCHW.float() - noise_BCHW).square().mean(dim=(1, 2, 3))
    snr_B = share_B / (1 - share_B)
    weight_B = (snr_B.clamp(SNR_FLOOR, MIN_SNR_GAMMA) / snr_B).clamp(max=MOST_WEIGHT)
    return error_B, weight_B
