"""The UNet families, Stable Diffusion 1.5 (Rombach et al. 2022) and SDXL (Podell et al. 2023), over a range of rows.

Owns the top-level forward with its seams, which layers exchange what at which level, and sizes and facts. Modules of
the model are untouched but for convolutions, group normalisations and attention processors, whose places wrappers take.
Must not load files or know who holds other rows.

Shape letters as in the ports; L text tokens, T width of a text embedding, Q width of a pooled text, E width of the time
embedding, G width of the guidance's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from polyrhythm.job.image import ImageSpec, LongPrompt, Sampler
from polyrhythm.job.request_checks import check_image
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.decoding import LatentScaling, decode_latent, latent_scale
from polyrhythm_agent.denoiser.families.unet_facts import UNetFamily, unet_facts
from polyrhythm_agent.denoiser.families.unet_layers import patch_unet
from polyrhythm_agent.denoiser.guided_run import GuidedRun, state_dtype_of
from polyrhythm_agent.denoiser.layers.attention import PatchContext, TextAttention, project_text
from polyrhythm_agent.denoiser.layers.convolution import PatchSlot, PatchStep
from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling, PictureSampling
from polyrhythm_agent.denoiser.text.clip import ClipText
from polyrhythm_agent.denoiser.text.guidance_embedding import embed_guidance
from polyrhythm_agent.ports.denoiser import LayerSeam, LongText
from polyrhythm_agent.ports.exchange import ActivationExchange
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
            text=[project_text(attn, text_BLT, condition.get("mask_BL")) for attn in self._layers.cross_attentions],
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


class UNetRun(GuidedRun):
    """One picture of a UNet model as ``DenoiserRun``."""

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        slot: PatchSlot,
        image: ImageSpec,
        geometry: Geometry,
        sampling: PictureSampling,
        text_BLT: Tensor,
        text: Sequence[TextAttention],
        pooled_BQ: Tensor,
    ) -> None:
        super().__init__(
            image=image, geometry=geometry, sampling=sampling, device=unet.device, compute_dtype=unet.dtype
        )
        self._unet = unet
        self._slot = slot
        self._grid = sampling.grid
        self._text_BLT = text_BLT
        self._text = text
        self._added = _added_condition(unet, image, pooled_BQ)
        self._guidance_1G = _guidance_condition(unet, image)

    @torch.inference_mode()
    def predict(
        self,
        x_BCHW: Tensor,
        step: int,
        rows: RowRange,
        exchange: ActivationExchange,
        seam: LayerSeam,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The guided prediction for some rows.

        Layers of the seam are ``embed``, ``down.0`` .., ``mid`` where there is one, ``up.0`` .. and ``head``.
        """
        self._slot.enter(
            PatchStep(
                geometry=self.geometry,
                rows=rows,
                step=step,
                exchange=exchange,
                states_BCHW=torch.cat((x_BCHW, torch.zeros_like(x_BCHW) if x0_BCHW is None else x0_BCHW), dim=1),
                carry=lambda states_BCHW, from_step: self._carry(states_BCHW, from_step, step),
            )
        )
        try:
            return self._forward(x_BCHW, step, seam, {"patch": PatchContext(exchange=exchange, text=self._text)})
        finally:
            self._slot.leave()

    def _forward(self, x_BCHW: Tensor, step: int, seam: LayerSeam, patch: dict[str, Any]) -> Tensor:
        """The top-level forward of ``UNet2DConditionModel``, with a seam around every block."""
        unet: Any = self._unet  # diffusers leaves its modules without types
        block_arguments = {"encoder_hidden_states": self._text_BLT, "cross_attention_kwargs": patch}
        own_BCHW = x_BCHW.to(unet.dtype).expand(self.geometry.batch, -1, -1, -1)
        seam.begin_layer("embed")
        time_BE = self._embed_step(own_BCHW, step)
        hidden_BCHW = seam.end_layer("embed", unet.conv_in(own_BCHW))
        skipped: list[Tensor] = [hidden_BCHW]
        for index, block in enumerate(unet.down_blocks):
            seam.begin_layer(f"down.{index}")
            attends = block_arguments if getattr(block, "has_cross_attention", False) else {}
            hidden_BCHW, outputs = block(hidden_states=hidden_BCHW, temb=time_BE, **attends)
            skipped.extend(outputs)
            hidden_BCHW = seam.end_layer(f"down.{index}", hidden_BCHW)
        if unet.mid_block is not None:
            seam.begin_layer("mid")
            hidden_BCHW = seam.end_layer("mid", unet.mid_block(hidden_BCHW, time_BE, **block_arguments))
        for index, block in enumerate(unet.up_blocks):
            seam.begin_layer(f"up.{index}")
            taken = len(block.resnets)
            skipped, outputs = skipped[:-taken], tuple(skipped[-taken:])
            attends = block_arguments if getattr(block, "has_cross_attention", False) else {}
            hidden_BCHW = block(
                hidden_states=hidden_BCHW,
                temb=time_BE,
                res_hidden_states_tuple=outputs,
                # A level's last row or column may have no partner: up-sampling ends where the way down began.
                upsample_size=skipped[-1].shape[2:] if skipped else None,
                **attends,
            )
            hidden_BCHW = seam.end_layer(f"up.{index}", hidden_BCHW)
        seam.begin_layer("head")
        head_BCHW = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden_BCHW)))
        return seam.end_layer("head", self._guide(head_BCHW))

    def _embed_step(self, own_BCHW: Tensor, step: int) -> Tensor:
        unet = self._unet
        time_BE = unet.time_embedding(
            unet.get_time_embed(sample=own_BCHW, timestep=self._timestep(step)), self._guidance_1G
        )
        added_BE = unet.get_aug_embed(emb=time_BE, encoder_hidden_states=self._text_BLT, added_cond_kwargs=self._added)
        return time_BE if added_BE is None else time_BE + added_BE

    def _carry(self, states_BCHW: Tensor, from_step: int, to_step: int) -> Tensor:
        """X of a neighbour's rim at this step, from its x and x0 at an earlier one: first order, without a forward.

        Where the sampler draws noise, the rim comes to the right noise level with the noise that it had, not with what
        its owner has drawn since. That noise is known here too, and adding it gains nothing: keys and rims of all other
        layers were computed from the neighbour's x of that earlier step in any case. In the first step there was no x0
        yet, so the rim stays at its noise level.
        """
        x_BCHW, x0_BCHW = states_BCHW.chunk(2, dim=1)
        if from_step in {to_step, 0}:
            return x_BCHW
        source, target = self._grid.departures[from_step], self._grid.departures[to_step]
        share = target.sigma / source.sigma
        return share * x_BCHW + (target.alpha - source.alpha * share) * x0_BCHW


def _guidance_condition(unet: UNet2DConditionModel, image: ImageSpec) -> Tensor | None:
    """The guidance as models are told it that were distilled so; None for the others."""
    width = unet.config["time_cond_proj_dim"]
    return None if width is None else embed_guidance(image.guidance, width).to(unet.device, unet.dtype)


def _added_condition(unet: UNet2DConditionModel, image: ImageSpec, pooled_BQ: Tensor) -> dict[str, Tensor]:
    """SDXL's pooled text and sizes: of the original, of its crop's corner, of the target; all of the whole picture."""
    if unet.config["addition_embed_type"] is None:
        return {}
    size = (image.height_px, image.width_px)
    ids_16 = torch.tensor([[*size, 0, 0, *size]], dtype=pooled_BQ.dtype, device=pooled_BQ.device)
    return {"text_embeds": pooled_BQ, "time_ids": ids_16.repeat(len(pooled_BQ), 1)}
