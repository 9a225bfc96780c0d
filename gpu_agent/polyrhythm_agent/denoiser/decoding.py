"""Latents to pixels with a KL autoencoder.

Owns the scaling and the check that a picture is one. Must not resize or write files.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from polyrhythm.errors import InternalError


class PictureNotFiniteError(InternalError):
    """The decoded picture holds NaN or infinite values; there is nothing to show."""


@torch.inference_mode()
def decode_latent(vae: AutoencoderKL, latent_BCHW: Tensor) -> Tensor:
    """Decodes ``(1, C, H, W)`` of any float dtype to ``(3, height, width)`` uint8 on the CPU.

    Raises:
        PictureNotFiniteError: the latent or the autoencoder overflowed.
    """
    scaled_BCHW = latent_BCHW.to(vae.device, vae.dtype) / vae.config["scaling_factor"]
    pixels_CHW = vae.decode(scaled_BCHW, return_dict=False)[0][0]
    broken = int((~torch.isfinite(pixels_CHW)).sum())
    if broken:
        raise PictureNotFiniteError(f"picture: {broken} of {pixels_CHW.numel()} decoded values are not finite")
    unit_CHW = (pixels_CHW.float() * 0.5 + 0.5).clamp(0, 1)
    return (unit_CHW * 255).round().to(torch.uint8).cpu()


def latent_scale(vae: AutoencoderKL) -> int:
    """Pixels on a side of one latent; diffusers assumes 8 where the autoencoder is left out."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)
