"""Parts of a single-file checkpoint, from the names of Stable Diffusion's own code to those of diffusers.

Owns which part is converted how. The renaming itself is that of diffusers; what it leaves out, or does not know, is
found here by comparing with the module that the config describes, since a weight that is missing would stay random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from polyrhythm_agent.denoiser.files.diffusers_parts import WRAPPER, as_folder_error
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import OPEN_CLIP_OF_SD_2

Weights = Mapping[str, Tensor]
Rename = Callable[[nn.Module, Weights], Weights]
"""Takes the module that a config describes and all weights of a checkpoint; returns those of the module."""

OPEN_CLIP_OF_SDXL = "conditioner.embedders.1.model."


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPart:
    """One subfolder of weights.

    Attributes:
        name: of the subfolder.
        kind: class of the module.
        rename: to the names of that class.
        weights_file: as the class's ``from_pretrained`` looks for it.
        tokenizer: subfolder of the tokenizer that belongs to a text encoder.
    """

    name: str
    kind: Any
    rename: Rename
    weights_file: str = "diffusion_pytorch_model.safetensors"
    tokenizer: str | None = None


def convert_part(part: CheckpointPart, weights: Weights, configs: ModelFolder) -> dict[str, Tensor]:
    """Weights of one part, complete, under the names of its class, in the types that they have.

    Raises:
        ModelFolderError: the checkpoint lacks some, or has them in other shapes than the config says.
    """
    with as_folder_error(configs, part.name):
        module = _described(part, configs)
        renamed = part.rename(module, weights)
    converted: dict[str, Tensor] = {}
    for name, expected in module.state_dict().items():
        found = renamed.get(name)
        if found is None:
            raise ModelFolderError(f"model: the checkpoint has no {part.name} {name}, as {configs.path} asks for")
        if found.shape != expected.shape:
            raise ModelFolderError(
                f"model: {part.name} {name} is {tuple(found.shape)} in the checkpoint and {tuple(expected.shape)} by "
                f"the config in {configs.path}"
            )
        converted[name] = found.contiguous()
    return converted


def _described(part: CheckpointPart, configs: ModelFolder) -> nn.Module:
    """The module that a config describes, without memory for weights."""
    config = dict(configs.config_of(part.name, "config.json"))
    with torch.device("meta"):
        if part.tokenizer is None:
            return part.kind.from_config(config)
        return part.kind(part.kind.config_class.from_dict(config))


def _rename_unet(module: Any, weights: Weights) -> Weights:
    return convert_ldm_unet_checkpoint(dict(weights), module.config)


def _rename_autoencoder(module: Any, weights: Weights) -> Weights:
    return convert_ldm_vae_checkpoint(dict(weights), module.config)


def _rename_text_encoder(module: Any, weights: Weights) -> Weights:
    """The first one: CLIP in Stable Diffusion 1 and XL, OpenCLIP in 2."""
    if any(name.startswith(OPEN_CLIP_OF_SD_2) for name in weights):
        return _like(module, convert_open_clip_checkpoint(module, dict(weights), prefix=OPEN_CLIP_OF_SD_2))
    return _like(module, convert_ldm_clip_checkpoint(weights))


def _rename_second_text_encoder(module: Any, weights: Weights) -> Weights:
    return _like(module, convert_open_clip_checkpoint(module, dict(weights), prefix=OPEN_CLIP_OF_SDXL))


def _like(module: nn.Module, weights: Weights) -> Weights:
    """Newer transformers keep a text model without the wrapper that its weights were once named after."""
    if hasattr(module, WRAPPER.removesuffix(".")):
        return weights
    return {name.removeprefix(WRAPPER): value for name, value in weights.items()}


_UNET = CheckpointPart(name="unet", kind=UNet2DConditionModel, rename=_rename_unet)
_AUTOENCODER = CheckpointPart(name="vae", kind=AutoencoderKL, rename=_rename_autoencoder)
_TEXT_ENCODER = CheckpointPart(
    name="text_encoder",
    kind=CLIPTextModel,
    rename=_rename_text_encoder,
    weights_file="model.safetensors",
    tokenizer="tokenizer",
)
_SECOND_TEXT_ENCODER = CheckpointPart(
    name="text_encoder_2",
    kind=CLIPTextModelWithProjection,
    rename=_rename_second_text_encoder,
    weights_file="model.safetensors",
    tokenizer="tokenizer_2",
)
PIPELINE_PARTS = {
    "StableDiffusionPipeline": (_UNET, _AUTOENCODER, _TEXT_ENCODER),
    "StableDiffusionXLPipeline": (_UNET, _AUTOENCODER, _TEXT_ENCODER, _SECOND_TEXT_ENCODER),
}
"""Parts that a checkpoint holds, by the pipeline class that its configs describe."""
