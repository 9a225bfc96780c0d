"""What the coordinator is told of a transformer over square patches of the latent."""

from __future__ import annotations

import torch

from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm_agent.denoiser.decoding import latent_scale
from polyrhythm_agent.denoiser.families.token_parts import PromptNeeds, TokenFamily, TokenParts
from polyrhythm_agent.denoiser.memory import token_memory
from polyrhythm_agent.denoiser.on_demand import module_bytes

PIXELS_MAX_OF_TRAINED = 16
"""Largest picture as a multiple of the trained area; position embeddings stretch, but not without end."""


def token_facts(model: str, family: TokenFamily, parts: TokenParts, prompt: PromptNeeds) -> ModelFacts:
    """What the coordinator is told of such a model.

    Args:
        model: name in requests.
        family: of the model.
        parts: of the model.
        prompt: what its texts take.
    """
    transformer, scale = parts.transformer, latent_scale(parts.vae.outline)
    patch, channels = transformer.config["patch_size"], transformer.config["in_channels"]
    side_px = transformer.config["sample_size"] * scale
    return ModelFacts(
        name=model,
        family=family.name,
        fingerprint=parts.fingerprint,
        dtype=str(transformer.dtype).removeprefix("torch."),
        samplers=parts.sampling.samplers,
        default_width_px=side_px,
        default_height_px=side_px,
        default_steps=family.default_steps,
        default_guidance=family.default_guidance,
        pixel_multiple=patch * scale,
        row_unit_px=patch * scale,
        pixels_max=PIXELS_MAX_OF_TRAINED * side_px**2,
        token_limit=prompt.token_limit,
        exchanged=(
            LayerGroup(
                kind=LayerKind.TOKENS,
                layers=len(transformer.transformer_blocks),
                cell_px=patch * scale,
                cell_bytes=2 * transformer.inner_dim * transformer.dtype.itemsize,
            ),
        ),
        token_px=patch * scale,
        latent_bytes_per_token=channels * patch**2 * torch.float32.itemsize,
        weights_bytes=module_bytes(transformer) + sum(each.size_bytes for each in (parts.vae, *prompt.text_encoders)),
        memory=token_memory(
            transformer,
            parts.vae.outline,
            prompt.text_encoders,
            encode_bytes=prompt.encode_bytes,
            condition_bytes=prompt.condition_bytes,
        ),
        square_only=family.square_only,
        full_rate_samplers=parts.sampling.full_rate_samplers,
        long_prompts=prompt.long_prompts,
        notices=parts.sampling.notices,
    )
