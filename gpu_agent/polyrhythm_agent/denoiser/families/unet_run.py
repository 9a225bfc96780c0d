"""One picture of a UNet model: its top-level forward over a range of rows. Must not know who holds other rows.

Shape letters as in the ports; L text tokens, T width of a text embedding, Q width of a pooled text, E width of the time
embedding, G width of the guidance's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.guided_run import GuidedRun
from polyrhythm_agent.denoiser.layers.attention import PatchContext, TextAttention
from polyrhythm_agent.denoiser.layers.convolution import PatchSlot, PatchStep
from polyrhythm_agent.denoiser.sampling.sampling import PictureSampling
from polyrhythm_agent.denoiser.text.guidance_embedding import embed_guidance
from polyrhythm_agent.ports.blocks import EMBED, HEAD, BlockObserver
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry

MID_BLOCK = LayerId("mid_block")


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
        text: Mapping[LayerId, TextAttention],
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
        observer: BlockObserver,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The guided prediction for some rows."""
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
            return self._forward(x_BCHW, step, observer, {"patch": PatchContext(exchange=exchange, text=self._text)})
        finally:
            self._slot.leave()

    def _forward(self, x_BCHW: Tensor, step: int, observer: BlockObserver, patch: dict[str, Any]) -> Tensor:
        """The top-level forward of ``UNet2DConditionModel``, with an observer of every block."""
        unet: Any = self._unet  # diffusers leaves its modules without types
        block_arguments = {"encoder_hidden_states": self._text_BLT, "cross_attention_kwargs": patch}
        own_BCHW = x_BCHW.to(unet.dtype).expand(self.geometry.batch, -1, -1, -1)
        observer.begin_block(EMBED)
        time_BE = self._embed_step(own_BCHW, step)
        hidden_BCHW = unet.conv_in(own_BCHW)
        observer.end_block(EMBED)
        skipped: list[Tensor] = [hidden_BCHW]
        for index, block in enumerate(unet.down_blocks):
            name = LayerId(f"down_blocks.{index}")
            observer.begin_block(name)
            attends = block_arguments if getattr(block, "has_cross_attention", False) else {}
            hidden_BCHW, outputs = block(hidden_states=hidden_BCHW, temb=time_BE, **attends)
            skipped.extend(outputs)
            observer.end_block(name)
        if unet.mid_block is not None:
            observer.begin_block(MID_BLOCK)
            hidden_BCHW = unet.mid_block(hidden_BCHW, time_BE, **block_arguments)
            observer.end_block(MID_BLOCK)
        for index, block in enumerate(unet.up_blocks):
            name = LayerId(f"up_blocks.{index}")
            observer.begin_block(name)
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
            observer.end_block(name)
        observer.begin_block(HEAD)
        prediction_BCHW = self._guide(unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden_BCHW))))
        observer.end_block(HEAD)
        return prediction_BCHW

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
