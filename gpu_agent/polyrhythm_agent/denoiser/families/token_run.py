"""One picture of a transformer over square patches of the latent: its forward over a range of token rows.

Owns the patch embedding of the own rows with the position embedding of the whole picture cut at the row offset, the
order of the blocks, and the way back to latents. Diffusers derives all of these from a whole latent. What differs
between families is a ``TokenForward``. Must not know who holds other rows.

Shape letters as in the ports; N own tokens, A all tokens, P patch size, F features of one token's patch.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.families.token_parts import TokenParts, TokenTransformer, block_ids
from polyrhythm_agent.denoiser.guided_run import GuidedRun
from polyrhythm_agent.ports.blocks import EMBED, HEAD, BlockObserver
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry


class TokenForward(Protocol):
    """The condition of one picture, and how a family's blocks and head take it in."""

    def embed_step(self, timestep_B: Tensor) -> Any:
        """What blocks and head are told of a step; handed on as it is."""
        ...

    def block(self, index: int, tokens_BND: Tensor, told: Any, exchange: ActivationExchange) -> Tensor:
        """One block, ``(B, N, D)`` to the same."""
        ...

    def head(self, tokens_BND: Tensor, told: Any) -> Tensor:
        """``(B, N, F)``: the output channels of every token's patch, row by row, channels last."""
        ...


class TokenRun(GuidedRun):
    """One picture of such a transformer as ``DenoiserRun``."""

    def __init__(self, *, parts: TokenParts, image: ImageSpec, geometry: Geometry, forward: TokenForward) -> None:
        transformer = parts.transformer
        self._tokens_per_row = geometry.latent_width // geometry.latent_rows_per_unit
        super().__init__(
            image=image,
            geometry=geometry,
            sampling=parts.sampling.start(
                image.sampler,
                image.steps,
                geometry.latent_rows_per_unit,
                image_tokens=geometry.row_count * self._tokens_per_row,
            ),
            device=transformer.device,
            compute_dtype=transformer.dtype,
        )
        self._transformer = transformer
        self._forward = forward
        self._position_AD = _position_embedding(transformer, geometry.row_count, self._tokens_per_row)
        self._blocks = block_ids(transformer)

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
        del x0_BCHW  # a token sees other rows through keys and values only
        observer.begin_block(EMBED)
        tokens_BND = self._embed_rows(x_BCHW, rows)
        told = self._forward.embed_step(self._timestep(step))
        observer.end_block(EMBED)
        for index, block in enumerate(self._blocks):
            observer.begin_block(block)
            tokens_BND = self._forward.block(index, tokens_BND, told, exchange)
            observer.end_block(block)
        observer.begin_block(HEAD)
        prediction_BCHW = self._guide(self._unpatchify(self._forward.head(tokens_BND, told), rows))
        observer.end_block(HEAD)
        return prediction_BCHW

    def _embed_rows(self, x_BCHW: Tensor, rows: RowRange) -> Tensor:
        per_row = self._tokens_per_row
        own_BCHW = x_BCHW.to(self._transformer.dtype).expand(self.geometry.batch, -1, -1, -1)
        tokens_BND = self._transformer.pos_embed.proj(own_BCHW).flatten(2).transpose(1, 2)
        position_ND = self._position_AD[rows.begin * per_row : rows.end * per_row]
        return (tokens_BND + position_ND).to(tokens_BND.dtype)

    def _unpatchify(self, patches_BNF: Tensor, rows: RowRange) -> Tensor:
        patch = self.geometry.latent_rows_per_unit
        cells_BHWPPC = patches_BNF.reshape(
            -1, rows.count, self._tokens_per_row, patch, patch, self._transformer.out_channels
        )
        # A learned sigma is the second half of the channels; no sampler here reads it, and it is not guided.
        cells_BHWPPC = cells_BHWPPC[..., : self.geometry.latent_channels]
        return cells_BHWPPC.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _position_embedding(transformer: TokenTransformer, rows: int, columns: int) -> Tensor:
    """``(A, D)`` of the whole picture, as ``PatchEmbed`` makes it from a whole latent."""
    embedding = transformer.pos_embed
    if (embedding.height, embedding.width) == (rows, columns):
        return embedding.get_buffer("pos_embed")[0]
    return get_2d_sincos_pos_embed(
        transformer.inner_dim,
        (rows, columns),
        base_size=embedding.base_size,
        interpolation_scale=embedding.interpolation_scale,
        device=transformer.device,
    ).float()
