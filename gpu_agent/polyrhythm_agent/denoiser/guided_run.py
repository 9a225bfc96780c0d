"""What one picture of any family does the same way: initial noise, sampler updates, classifier-free guidance.

Owns none of the forward. Must not know what a model's layers are.

Shape letters as in the ports.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.sampling.noise import PictureNoise
from polyrhythm_agent.denoiser.sampling.sampling import PictureSampling
from polyrhythm_agent.ports.layers import Geometry


def batch_of(image: ImageSpec) -> int:
    """Batch elements of one forward: negative and positive with guidance, else the positive one alone."""
    return 2 if image.guidance > 1.0 else 1


def state_dtype_of(compute_dtype: torch.dtype) -> torch.dtype:
    """fp64 where the denoiser computes in it, fp32 otherwise."""
    return torch.float64 if compute_dtype is torch.float64 else torch.float32


class GuidedRun:
    """The part of a ``DenoiserRun`` that is the same for every family; ``predict`` is the family's.

    Args:
        image: what to make.
        geometry: of the picture.
        sampling: of the picture.
        device: of the denoiser.
        compute_dtype: arithmetic of the forward.
    """

    def __init__(
        self,
        *,
        image: ImageSpec,
        geometry: Geometry,
        sampling: PictureSampling,
        device: torch.device,
        compute_dtype: torch.dtype,
    ) -> None:
        self.geometry = geometry
        self._noise = PictureNoise(seed=image.seed, geometry=geometry)
        self._guidance = image.guidance
        self._sampling = sampling
        self._device = device
        self._state_dtype = state_dtype_of(compute_dtype)
        self._timestep_M = torch.tensor(sampling.grid.timesteps, device=device)

    def initial_noise(self) -> Tensor:
        """``(1, C, H, W)``; drawn in fp32 on the CPU whatever the device and the state dtype are."""
        noise_BCHW = self._noise.initial().to(self._device, self._state_dtype)
        return self._sampling.grid.initial_scale * noise_BCHW

    @torch.inference_mode()
    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
        *,
        rows: RowRange,
    ) -> tuple[Tensor, Tensor]:
        """One sampler update of a patch; arguments and result as in ``DenoiserRun.advance``."""
        fresh_noise_BCHW = self._fresh_noise(step, rows) if self._sampling.draws_noise else None
        return self._sampling.advance(
            x_BCHW, prediction_BCHW, step, next_step, history_x0_BCHW, history_steps, fresh_noise_BCHW
        )

    def _fresh_noise(self, step: int, rows: RowRange) -> Tensor:
        own_BCHW = self._noise.of_step(step)[:, :, self.geometry.latent_slice(rows)]
        return own_BCHW.to(self._device, self._state_dtype)

    def _timestep(self, step: int) -> Tensor:
        """``(B,)``: what the model is told at a point of the grid."""
        return self._timestep_M[step].expand(self.geometry.batch)

    def _guide(self, prediction_BCHW: Tensor) -> Tensor:
        """Combines the halves of a batch (Ho and Salimans 2022), in the state dtype."""
        prediction_BCHW = prediction_BCHW.to(self._state_dtype)
        if self.geometry.batch == 1:
            return prediction_BCHW
        negative_BCHW, positive_BCHW = prediction_BCHW.chunk(2)
        return negative_BCHW + self._guidance * (positive_BCHW - negative_BCHW)
