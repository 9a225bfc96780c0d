"""Latents to pixels with a KL autoencoder.

Owns the scaling and the check that a picture is one. Must not resize or write files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from polyrhythm_agent.errors import PictureBlackError, PictureNotFiniteError

BLACK_BELOW = 2
"""Of 255: what nobody can tell from black, and rounding may add to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """When pictures are decoded in overlapping tiles that are blended, to save memory (diffusers' own tiling).

    A rule of the picture's size alone: whoever decodes it, and however much memory is free there, it looks the same.

    Attributes:
        above_pixels: larger pictures are.
        side_px: of a tile.
    """

    above_pixels: int
    side_px: int


TILING = Tiling(above_pixels=1280 * 1280, side_px=1024)
"""Above what models of today are trained on; tiles as large as that, so that each sees a whole picture's worth."""


@torch.inference_mode()
def decode_latent(vae: AutoencoderKL, latent_BCHW: Tensor, tiling: Tiling = TILING) -> Tensor:
    """Decodes ``(1, C, H, W)`` of any float dtype to ``(3, height, width)`` uint8 on the CPU.

    Args:
        vae: the autoencoder.
        latent_BCHW: of the whole picture.
        tiling: of large pictures.

    Raises:
        PictureNotFiniteError: the latent or the autoencoder overflowed.
        PictureBlackError: there is nothing to see. Any other colour all over is a picture, and so is black with one
            pixel that is not.
    """
    scaled_BCHW = _unscaled(vae, latent_BCHW.to(vae.device, vae.dtype))
    with _tiled(vae, scaled_BCHW, tiling):
        pixels_CHW = vae.decode(scaled_BCHW, return_dict=False)[0][0]
    broken = int((~torch.isfinite(pixels_CHW)).sum())
    if broken:
        raise PictureNotFiniteError(f"picture: {broken} of {pixels_CHW.numel()} decoded values are not finite")
    unit_CHW = (pixels_CHW.float() * 0.5 + 0.5).clamp(0, 1)
    picture_CHW = (unit_CHW * 255).round().to(torch.uint8).cpu()
    brightest = int(picture_CHW.max())
    if brightest < BLACK_BELOW:
        raise PictureBlackError(f"picture: black all over, the brightest of its values is {brightest} of 255")
    return picture_CHW


def _unscaled(vae: AutoencoderKL, latent_BCHW: Tensor) -> Tensor:
    """What the autoencoder takes; one that names mean and deviation of each channel is read as by SDXL's pipeline."""
    unscaled_BCHW = latent_BCHW / vae.config["scaling_factor"]
    mean, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is None or deviation is None:
        return unscaled_BCHW
    mean_C11, deviation_C11 = (unscaled_BCHW.new_tensor(value).view(-1, 1, 1) for value in (mean, deviation))
    return unscaled_BCHW * deviation_C11 + mean_C11


@contextmanager
def _tiled(vae: AutoencoderKL, latent_BCHW: Tensor, tiling: Tiling) -> Iterator[None]:
    """Has a large picture decoded in tiles inside, and nothing else."""
    scale = latent_scale(vae)
    if latent_BCHW.shape[2] * latent_BCHW.shape[3] * scale**2 <= tiling.above_pixels:
        yield
        return
    vae.tile_sample_min_size, vae.tile_latent_min_size = tiling.side_px, tiling.side_px // scale
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()


def latent_scale(vae: AutoencoderKL) -> int:
    """Pixels on a side of one latent; diffusers assumes 8 where the autoencoder is left out."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)
