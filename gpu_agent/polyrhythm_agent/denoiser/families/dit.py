"""The DiT family (Peebles and Xie 2022): a diffusion transformer that is told a class, with adaLN-zero.

Owns the condition: the class that a prompt names beside the null class. Diffusers' forward takes the height from the
number of tokens, so pictures are square; the forward over rows is that of all token transformers. The model's
submodules are untouched but for their attention processors. Must not load files or know who holds other rows.

Shape letters as in the ports; N own tokens, F features of one token's patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from torch import Tensor

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.request_checks import check_image
from polyrhythm_agent.denoiser.families.token_parts import PromptNeeds, TokenFamily, TokenParts, block_ids
from polyrhythm_agent.denoiser.families.token_run import TokenRun
from polyrhythm_agent.denoiser.families.token_transformer import TokenDenoiser
from polyrhythm_agent.denoiser.guided_run import batch_of
from polyrhythm_agent.denoiser.layers.attention import PatchContext, set_patch_processors
from polyrhythm_agent.denoiser.text.class_labels import ClassLabels
from polyrhythm_agent.ports.exchange import ActivationExchange

FAMILY = TokenFamily(name="dit", default_steps=50, default_guidance=4.0, square_only=True)
"""Steps and guidance as the pipeline of diffusers has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTParts(TokenParts):
    """A loaded pipeline.

    Attributes:
        transformer: the denoiser.
        labels: its classes.
    """

    transformer: DiTTransformer2DModel
    labels: ClassLabels


class DiTDenoiser(TokenDenoiser[DiTParts]):
    """A DiT model as ``Denoiser``.

    Raises:
        ModelFolderError: the transformer is of a make that this adapter does not know.
    """

    sample_prompt = "0"
    """Every model has a first class."""

    def __init__(self, *, model: str, parts: DiTParts) -> None:
        super().__init__(model, FAMILY, parts, PromptNeeds(token_limit=1, condition_bytes=0))
        for name, block in zip(block_ids(parts.transformer), parts.transformer.transformer_blocks, strict=True):
            set_patch_processors(name, block.attn1, None)

    def count_tokens(self, text: str, field: str = "prompt") -> int:
        """A label is one token; no negative prompt is none.

        Raises:
            InvalidArgumentError: names the field: the prompt is no label, or there is a negative prompt.
        """
        if field == "prompt":
            self._parts.labels.number(text)
            return 1
        if text.strip():
            raise InvalidArgumentError.of(field, "this model paints classes and takes none; leave it empty")
        return 0

    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """``label_B`` int64: the class, with guidance the null class before it.

        Raises:
            InvalidArgumentError: the image breaks a limit of the model, the prompt is no label, or there is a negative
                prompt.
        """
        check_image(image, self.facts)
        violations: list[FieldViolation] = []
        for field, text in (("prompt", image.prompt), ("negative_prompt", image.negative_prompt)):
            try:
                self.count_tokens(text, field)
            except InvalidArgumentError as error:
                violations.extend(error.violations)
        if violations:
            raise InvalidArgumentError(*violations)
        labels = self._parts.labels
        # The null class was learned by dropping labels; it comes behind the last class.
        label_B = [labels.count, labels.number(image.prompt)][-batch_of(image) :]
        return {"label_B": torch.tensor(label_B, device=self._parts.transformer.device)}

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """An uninitialised tensor like that of ``encode``."""
        device = self._parts.transformer.device
        return {"label_B": torch.empty((batch_of(image),), dtype=torch.int64, device=device)}

    @torch.inference_mode()
    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> TokenRun:
        """Computes what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        forward = DiTForward(transformer=self._parts.transformer, label_B=condition["label_B"])
        return self._run(image, forward)


class DiTForward:
    """One picture's classes as ``TokenForward``."""

    def __init__(self, *, transformer: DiTTransformer2DModel, label_B: Tensor) -> None:
        self._transformer = transformer
        self._label_B = label_B

    def embed_step(self, timestep_B: Tensor) -> Tensor:
        """The timestep as it is: every block embeds it, and the label, with weights of its own (adaLN-zero)."""
        return timestep_B

    def block(self, index: int, tokens_BND: Tensor, told: Tensor, exchange: ActivationExchange) -> Tensor:
        """One block over the own rows."""
        patch = PatchContext(exchange=exchange, text={})
        return self._transformer.transformer_blocks[index](
            tokens_BND, timestep=told, class_labels=self._label_B, cross_attention_kwargs={"patch": patch}
        )

    def head(self, tokens_BND: Tensor, told: Tensor) -> Tensor:
        """``(B, N, F)``: the output channels of every token's patch."""
        transformer = self._transformer
        embed = transformer.transformer_blocks[0].norm1.emb
        condition_BD = embed(told, self._label_B, hidden_dtype=tokens_BND.dtype)
        shift_BD, scale_BD = transformer.proj_out_1(F.silu(condition_BD)).chunk(2, dim=1)
        modulated_BND = transformer.norm_out(tokens_BND) * (1 + scale_BD[:, None]) + shift_BD[:, None]
        return transformer.proj_out_2(modulated_BND)
