"""The PixArt families, alpha (Chen et al. 2023) and Sigma (Chen et al. 2024): transformers that attend to a text.

Owns the condition: embeddings of the prompts, their keys and values for every layer, size and aspect ratio for models
trained with them. The model's submodules are untouched but for their attention processors. Must not load files or know
who holds other rows.

Shape letters as in the ports; L text tokens, T width of a text embedding, N own tokens, F features as in the module of
token transformers, or of a modulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.request_checks import check_image
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm_agent.denoiser.families.token_parts import PromptNeeds, TokenFamily, TokenParts, block_ids
from polyrhythm_agent.denoiser.families.token_run import TokenRun
from polyrhythm_agent.denoiser.families.token_transformer import TokenDenoiser
from polyrhythm_agent.denoiser.guided_run import batch_of
from polyrhythm_agent.denoiser.layers.attention import (
    PatchContext,
    TextAttention,
    cross_attention_of,
    project_text,
    set_patch_processors,
)
from polyrhythm_agent.denoiser.memory import text_condition_bytes
from polyrhythm_agent.denoiser.text.t5 import T5Text
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.denoiser import LongText
from polyrhythm_agent.ports.exchange import ActivationExchange

ALPHA = TokenFamily(name="pixart", default_steps=20, default_guidance=4.5)
SIGMA = TokenFamily(name="pixart-sigma", default_steps=20, default_guidance=4.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixArtParts(TokenParts):
    """A pipeline, of which the transformer is loaded.

    Attributes:
        transformer: the denoiser.
        text: tokenizer and encoder.
    """

    transformer: PixArtTransformer2DModel
    text: T5Text


class PixArtDenoiser(TokenDenoiser[PixArtParts]):
    """A PixArt model as ``Denoiser``.

    Raises:
        ModelFolderError: the transformer is of a make that this adapter does not know.
    """

    sample_prompt = "a photograph"
    """Any text is a prompt."""

    def __init__(self, *, model: str, family: TokenFamily, parts: PixArtParts) -> None:
        prompt = PromptNeeds(
            token_limit=parts.text.token_limit,
            condition_bytes=text_condition_bytes(parts.transformer, parts.text),
            text_encoders=(parts.text.encoder,),
            encode_bytes=parts.text.working_bytes,
            long_prompts=(LongPrompt.CUT,),  # T5 reads a text as a whole: there are no windows to chunk it into
        )
        super().__init__(model, family, parts, prompt)
        _check_make(parts.transformer, family)
        for name, block in zip(block_ids(parts.transformer), parts.transformer.transformer_blocks, strict=True):
            set_patch_processors(name, block.attn1, block.attn2)

    def count_tokens(self, text: str, field: str = "prompt") -> int:
        """Tokens of a text, end mark included, without truncation."""
        del field  # both prompts are texts
        return self._parts.text.count_tokens(text)

    def long_text(self, text: str, treatment: LongPrompt) -> LongText:
        """What is left of a text where its end is cut off; as in ``ReadsLongTexts``."""
        del treatment  # the facts offer one
        tokens, cut_off = self._parts.text.cut(text)
        return LongText(tokens=tokens, cut_off=cut_off)

    @torch.inference_mode()
    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """``text_BLT`` in the state dtype and ``mask_BL`` int64; with guidance the negative prompt comes first.

        Raises:
            InvalidArgumentError: the image breaks a limit of the model, or a prompt is too long.
        """
        check_image(image, self.facts)
        if image.long_prompt is LongPrompt.REFUSE:
            self._parts.text.check_length(prompt=image.prompt, negative_prompt=image.negative_prompt)
        texts = (image.negative_prompt, image.prompt)[-batch_of(image) :]
        encoded = [self._parts.text.encode(text) for text in texts]
        return {
            # The state dtype, so that agents of different compute dtypes can hand embeddings to one another.
            "text_BLT": torch.cat([text for text, _ in encoded]).to(self.state_dtype),
            "mask_BL": torch.cat([mask for _, mask in encoded]),
        }

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Uninitialised tensors like those of ``encode``."""
        shape, device = (batch_of(image), self.facts.token_limit), self._parts.transformer.device
        return {
            "text_BLT": torch.empty((*shape, self._parts.text.width), dtype=self.state_dtype, device=device),
            "mask_BL": torch.empty(shape, dtype=torch.int64, device=device),
        }

    @torch.inference_mode()
    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> TokenRun:
        """Projects the text for every layer and computes what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        transformer = self._parts.transformer
        text_BLD = condition["text_BLT"].to(self.compute_dtype)
        if transformer.caption_projection is not None:
            text_BLD = transformer.caption_projection(text_BLD)
        mask_BL = condition["mask_BL"]
        text = {
            cross_attention_of(name): project_text(block.attn2, text_BLD, mask_BL)
            for name, block in zip(block_ids(transformer), transformer.transformer_blocks, strict=True)
        }
        return self._run(image, PixArtForward(transformer=transformer, image=image, text=text))


class PixArtForward:
    """One picture's texts and sizes as ``TokenForward``."""

    def __init__(
        self, *, transformer: PixArtTransformer2DModel, image: ImageSpec, text: Mapping[LayerId, TextAttention]
    ) -> None:
        self._transformer = transformer
        self._text = text
        self._size_condition = _size_condition(transformer, image)

    def embed_step(self, timestep_B: Tensor) -> tuple[Tensor, Tensor]:
        """Modulation of the blocks and embedding of the timestep, once for all layers (adaLN-single)."""
        return self._transformer.adaln_single(
            timestep_B, self._size_condition, batch_size=len(timestep_B), hidden_dtype=self._transformer.dtype
        )

    def block(
        self, index: int, tokens_BND: Tensor, told: tuple[Tensor, Tensor], exchange: ActivationExchange
    ) -> Tensor:
        """One block over the own rows."""
        modulation_BF, _ = told
        patch = PatchContext(exchange=exchange, text=self._text)
        return self._transformer.transformer_blocks[index](
            tokens_BND, timestep=modulation_BF, cross_attention_kwargs={"patch": patch}
        )

    def head(self, tokens_BND: Tensor, told: tuple[Tensor, Tensor]) -> Tensor:
        """``(B, N, F)``: the output channels of every token's patch."""
        transformer, (_, timestep_BD) = self._transformer, told
        shift_B1D, scale_B1D = (transformer.scale_shift_table[None] + timestep_BD[:, None]).chunk(2, dim=1)
        return transformer.proj_out(transformer.norm_out(tokens_BND) * (1 + scale_B1D) + shift_B1D)


def _size_condition(transformer: PixArtTransformer2DModel, image: ImageSpec) -> dict[str, Tensor | None]:
    """Size and aspect ratio of the whole picture, for models trained with them."""
    if not transformer.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    batch, place = batch_of(image), {"dtype": transformer.dtype, "device": transformer.device}
    return {
        "resolution": torch.tensor([[image.height_px, image.width_px]], **place).repeat(batch, 1),
        "aspect_ratio": torch.tensor([[image.height_px / image.width_px]], **place).repeat(batch, 1),
    }


def text_width_key(config: Mapping[str, Any]) -> str:
    """The entry of a transformer's config that says how wide the embeddings of a text are that it takes.

    Raises:
        ModelFolderError: its blocks do not attend to what becomes of them.
    """
    crossed, key = config["cross_attention_dim"], "caption_channels"
    if config[key] is None:
        key = "cross_attention_dim"
    elif crossed != (width := config["num_attention_heads"] * config["attention_head_dim"]):
        raise ModelFolderError(
            f"transformer: cross_attention_dim={crossed!r}, but captions are projected to the {width} of its heads"
        )
    if crossed is None:
        raise ModelFolderError("transformer: cross_attention_dim=None, but PixArt attends to a text")
    return key


def _check_make(transformer: PixArtTransformer2DModel, family: TokenFamily) -> None:
    if transformer.config["attention_type"] != "default":
        raise ModelFolderError(f"transformer: attention_type {transformer.config['attention_type']!r} is not supported")
    if family is SIGMA and transformer.use_additional_conditions:
        raise ModelFolderError("transformer: use_additional_conditions=True, but PixArt-Sigma is told no sizes")
