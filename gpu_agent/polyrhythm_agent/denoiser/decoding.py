"""Latents to pixels with a KL autoencoder.

Owns the scaling and the check that a picture is one. Must not resize or write files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from polyrhythm_agent.errors import ModelFolderError, PictureBlackError, PictureNotFiniteError

BLACK_BELOW = 2
"""Of 255: what nobody can tell from black, and rounding may add to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentScaling:
    """What an autoencoder takes in the place of the denoiser's latents, as the family's pipeline makes it.

    Attributes:
        factor: that latents are divided by.
        deviation_C: that each channel is multiplied by besides, ...
        mean_C: ... and what is added to it then; both are empty where the pipeline does neither.
    """

    factor: float
    deviation_C: tuple[float, ...] = ()
    mean_C: tuple[float, ...] = ()

    @classmethod
    def read(cls, config: Mapping[str, Any], *, by_channel: bool) -> LatentScaling:
        """Reads the config of an autoencoder.

        Args:
            config: with all defaults in it.
            by_channel: whether the family's pipeline heeds ``latents_mean`` and ``latents_std``; where one of them is
                left out, no pipeline does.

        Raises:
            ModelFolderError: what is heeded are no such numbers.
        """
        factor, mean, deviation = config["scaling_factor"], config.get("latents_mean"), config.get("latents_std")
        if not _is_number(factor) or factor == 0:
            raise ModelFolderError(f"vae: scaling_factor must be a number other than 0, got {factor!r}")
        if not by_channel or mean is None or deviation is None:
            return cls(factor=factor)
        channels = config["latent_channels"]
        for key, values in (("latents_mean", mean), ("latents_std", deviation)):
            listed = isinstance(values, list | tuple)
            if not listed or len(values) != channels or not all(map(_is_number, values)):
                raise ModelFolderError(f"vae: {key} must be {channels} numbers, one a latent channel, got {values!r}")
        return cls(factor=factor, deviation_C=tuple(deviation), mean_C=tuple(mean))

    def undo(self, latent_BCHW: Tensor) -> Tensor:
        """What the autoencoder takes of latents."""
        if not self.mean_C:
            return latent_BCHW / self.factor
        deviation_C11, mean_C11 = (latent_BCHW.new_tensor(of).view(-1, 1, 1) for of in (self.deviation_C, self.mean_C))
        return latent_BCHW * deviation_C11 / self.factor + mean_C11


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
def decode_latent(vae: AutoencoderKL, latent_BCHW: Tensor, scaling: LatentScaling, tiling: Tiling = TILING) -> Tensor:
    """Decodes ``(1, C, H, W)`` of any float dtype to ``(3, height, width)`` uint8 on the CPU.

    Args:
        vae: the autoencoder.
        latent_BCHW: of the whole picture.
        scaling: of these latents.
        tiling: of large pictures.

    Raises:
        PictureNotFiniteError: the latent or the autoencoder overflowed.
        PictureBlackError: there is nothing to see. Any other colour all over is a picture, and so is black with one
            pixel that is not.
    """
    scaled_BCHW = scaling.undo(latent_BCHW.to(vae.device, vae.dtype))
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
