"""The UNet families, Stable Diffusion 1.5 (Rombach et al. 2022) and SDXL (Podell et al. 2023), over a range of rows.

Owns what does not belong to one picture: condition, sizes and facts. Modules of the model are untouched but for
convolutions, group normalisations and attention processors, whose places wrappers take. Must not load files.

Shape letters as in the ports; L text tokens, T width of a text embedding, Q width of a pooled text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.job.request_checks import check_image
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm_agent.denoiser.decoding import LatentScaling, decode_latent, latent_scale
from polyrhythm_agent.denoiser.families.unet_facts import UNetFamily, unet_facts
from polyrhythm_agent.denoiser.families.unet_layers import patch_unet
from polyrhythm_agent.denoiser.families.unet_run import UNetRun
from polyrhythm_agent.denoiser.guided_run import state_dtype_of
from polyrhythm_agent.denoiser.layers.attention import project_text
from polyrhythm_agent.denoiser.layers.convolution import PatchSlot
from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.text.clip import ClipText
from polyrhythm_agent.ports.denoiser import LongText
from polyrhythm_agent.ports.layers import Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetParts:
    """A pipeline, of which the denoiser is loaded.

    Attributes:
        unet: the denoiser.
        vae: the autoencoder.
        text: tokenizers and encoders.
        scaling: of the latents that the autoencoder takes.
        sampling: what the scheduler config allows.
        fingerprint: of the folder.
    """

    unet: UNet2DConditionModel
    vae: OnDemand[AutoencoderKL]
    scaling: LatentScaling
    text: ClipText
    sampling: ModelSampling
    fingerprint: str


class UNetDenoiser:
    """A UNet model as ``Denoiser``.

    Raises:
        ModelFolderError: the UNet is of a make that this adapter does not know.
    """

    sample_prompt = "a photograph"
    """Any text is a prompt."""

    def __init__(self, *, model: str, family: UNetFamily, parts: UNetParts) -> None:
        self._parts = parts
        self._slot = PatchSlot()
        self.parts = (parts.vae, *(part.encoder for part in parts.text.encoders))
        self._layers = patch_unet(parts.unet, self._slot)
        self.facts = unet_facts(
            model,
            family=family,
            unet=parts.unet,
            vae=parts.vae,
            text=parts.text,
            layers=self._layers,
            sampling=parts.sampling,
            fingerprint=parts.fingerprint,
        )

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the UNet."""
        return self._parts.unet.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """fp64 where the UNet computes in it, fp32 otherwise."""
        return state_dtype_of(self.compute_dtype)

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture; a side may be any multiple of the autoencoder's factor."""
        scale, unit = latent_scale(self._parts.vae.outline), self._layers.unit
        height, width = image.height_px // scale, image.width_px // scale
        return Geometry(
            row_count=-(-height // unit),
            latent_rows_per_unit=unit,
            latent_channels=self._parts.unet.config["in_channels"],
            latent_height=height,
            latent_width=width,
            batch=self._batch(image),
            layers=self._layers.exchanged(latent_width=width, batch=self._batch(image)),
        )

    def count_tokens(self, text: str, field: str = "prompt") -> int:
        """Tokens of a text, marks at both ends included, without truncation."""
        del field  # both prompts are texts
        return self._parts.text.count_tokens(text)

    def long_text(self, text: str, treatment: LongPrompt) -> LongText:
        """What a text takes that may be longer than the limit; as in ``ReadsLongTexts``."""
        if treatment is LongPrompt.CHUNK:
            return LongText(tokens=self._parts.text.count_windows(text) * self._parts.text.token_limit)
        tokens, cut_off = self._parts.text.cut(text)
        return LongText(tokens=tokens, cut_off=cut_off)

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Whether the schedule has so many steps for a sampler.

        Raises:
            InvalidArgumentError: it has not.
        """
        self._parts.sampling.check_steps(sampler, steps)

    @torch.inference_mode()
    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """``text_BLT`` and ``pooled_BQ`` in the state dtype; with guidance the negative prompt comes first.

        Texts in several windows have a ``mask_BL``, since one may fill fewer of them than the other.

        Raises:
            InvalidArgumentError: the image breaks a limit of the model, or a prompt is too long.
        """
        check_image(image, self.facts)
        text = self._parts.text
        if image.long_prompt is LongPrompt.REFUSE:
            text.check_length(prompt=image.prompt, negative_prompt=image.negative_prompt)
        texts = ((image.negative_prompt, True), (image.prompt, False))[-self._batch(image) :]
        encoded = [text.encode_windows(each, image.text_windows, negative=negative) for each, negative in texts]
        condition = {
            # The state dtype, so that agents of different compute dtypes can hand embeddings to one another.
            "text_BLT": torch.cat([tokens for tokens, _, _ in encoded]).to(self.state_dtype),
            "pooled_BQ": torch.cat([pooled for _, pooled, _ in encoded]).to(self.state_dtype),
        }
        return condition if image.text_windows == 1 else {**condition, "mask_BL": torch.cat([m for *_, m in encoded])}

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Uninitialised tensors like those of ``encode``."""
        batch, text = self._batch(image), self._parts.text
        device, tokens = self._parts.unet.device, image.text_windows * text.token_limit
        condition = {
            "text_BLT": torch.empty((batch, tokens, text.width), dtype=self.state_dtype, device=device),
            "pooled_BQ": torch.empty((batch, text.pooled_width), dtype=self.state_dtype, device=device),
        }
        if image.text_windows == 1:
            return condition
        return {**condition, "mask_BL": torch.empty((batch, tokens), dtype=torch.int64, device=device)}

    @torch.inference_mode()
    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> UNetRun:
        """Projects the text for every layer and prepares what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        geometry = self.geometry(image)
        text_BLT = condition["text_BLT"].to(self.compute_dtype)
        return UNetRun(
            unet=self._parts.unet,
            slot=self._slot,
            image=image,
            geometry=geometry,
            sampling=self._parts.sampling.start(
                image.sampler,
                image.steps,
                geometry.latent_rows_per_unit,
                image_tokens=geometry.latent_height * geometry.latent_width,
            ),
            text_BLT=text_BLT,
            text={
                layer: project_text(attn, text_BLT, condition.get("mask_BL"))
                for layer, attn in self._layers.cross_attentions.items()
            },
            pooled_BQ=condition["pooled_BQ"].to(self.compute_dtype),
        )

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Decodes ``(1, C, H, W)`` to ``(3, height, width)`` uint8 on the CPU.

        Raises:
            PictureNotFiniteError: the picture is none.
        """
        return decode_latent(self._parts.vae.module(), latent_BCHW, self._parts.scaling)

    def _batch(self, image: ImageSpec) -> int:
        return self.facts.batch(image.guidance)
