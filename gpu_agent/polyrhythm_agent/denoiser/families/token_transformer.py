"""What PixArt and DiT share as denoisers: transformers over square patches of the latent. Must not load files.

Shape letters as in the ports.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.decoding import decode_latent, latent_scale
from polyrhythm_agent.denoiser.families.token_facts import token_facts
from polyrhythm_agent.denoiser.families.token_parts import PromptNeeds, TokenFamily, TokenParts, block_ids
from polyrhythm_agent.denoiser.families.token_run import TokenForward, TokenRun
from polyrhythm_agent.denoiser.guided_run import batch_of, state_dtype_of
from polyrhythm_agent.denoiser.layers.attention import self_attention_of
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry

PartsT = TypeVar("PartsT", bound=TokenParts)


class TokenDenoiser(Generic[PartsT]):
    """The part of a ``Denoiser`` that does not depend on what the condition is.

    Raises:
        ModelFolderError: the transformer's channels are of no known make.
    """

    def __init__(self, model: str, family: TokenFamily, parts: PartsT, prompt: PromptNeeds) -> None:
        channels, out_channels = parts.transformer.config["in_channels"], parts.transformer.out_channels
        if out_channels not in {channels, 2 * channels}:
            raise ModelFolderError(f"transformer: {channels} channels in, {out_channels} out")
        self._parts = parts
        self.facts = token_facts(model, family, parts, prompt)
        self.parts = (parts.vae, *prompt.text_encoders)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the transformer."""
        return self._parts.transformer.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """fp64 where the transformer computes in it, fp32 otherwise."""
        return state_dtype_of(self.compute_dtype)

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture."""
        transformer = self._parts.transformer
        scale, patch = latent_scale(self._parts.vae.outline), transformer.config["patch_size"]
        height, width = image.height_px // scale, image.width_px // scale
        attention = ExchangedLayer(
            kind=LayerKind.TOKENS,
            shrink=patch,
            columns=width // patch,
            features=transformer.inner_dim,
            batch=batch_of(image),
        )
        return Geometry(
            row_count=height // patch,
            latent_rows_per_unit=patch,
            latent_channels=transformer.config["in_channels"],
            latent_height=height,
            latent_width=width,
            batch=batch_of(image),
            layers={self_attention_of(block): attention for block in block_ids(transformer)},
        )

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Whether the schedule has so many steps for a sampler.

        Raises:
            InvalidArgumentError: it has not.
        """
        self._parts.sampling.check_steps(sampler, steps)

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Decodes ``(1, C, H, W)`` to ``(3, height, width)`` uint8 on the CPU.

        Raises:
            PictureNotFiniteError: the picture is none.
            PictureBlackError: it is black all over.
        """
        return decode_latent(self._parts.vae.module(), latent_BCHW, self._parts.scaling)

    def _run(self, image: ImageSpec, forward: TokenForward) -> TokenRun:
        """Computes what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        return TokenRun(parts=self._parts, image=image, geometry=self.geometry(image), forward=forward)
