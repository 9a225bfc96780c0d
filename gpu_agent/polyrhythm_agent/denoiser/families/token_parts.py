"""What a pipeline of a transformer over square patches of the latent consists of, and what its family says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from diffusers import AutoencoderKL, DiTTransformer2DModel, PixArtTransformer2DModel

from polyrhythm.ids import LayerId
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm_agent.denoiser.decoding import LatentScaling
from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling

TokenTransformer: TypeAlias = PixArtTransformer2DModel | DiTTransformer2DModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenParts:
    """What every pipeline of such a transformer consists of; only the transformer is loaded.

    Attributes:
        transformer: the denoiser.
        vae: the autoencoder.
        scaling: of the latents that the autoencoder takes.
        sampling: what the scheduler config allows.
        fingerprint: of the folder.
    """

    transformer: TokenTransformer
    vae: OnDemand[AutoencoderKL]
    scaling: LatentScaling
    sampling: ModelSampling
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFamily:
    """What differs between these families for a user.

    Attributes:
        name: of the adapter.
        default_steps: steps when the user names none.
        default_guidance: guidance when the user names none.
        square_only: whether width and height must agree.
    """

    name: str
    default_steps: int
    default_guidance: float
    square_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptNeeds:
    """What it takes to turn a prompt into the condition.

    Attributes:
        token_limit: longest prompt in tokens, end mark included.
        condition_bytes: embeddings of a prompt and what every layer keeps of them, one batch element.
        text_encoders: all of them.
        encode_bytes: working memory of encoding one text.
        long_prompts: what may become of a longer one, beside a refusal.
    """

    token_limit: int
    condition_bytes: int
    text_encoders: tuple[OnDemand[Any], ...] = ()
    encode_bytes: int = 0
    long_prompts: tuple[LongPrompt, ...] = ()


def block_ids(transformer: TokenTransformer) -> tuple[LayerId, ...]:
    """The blocks of a transformer, in the order of a forward."""
    return tuple(LayerId(f"transformer_blocks.{index}") for index in range(len(transformer.transformer_blocks)))
