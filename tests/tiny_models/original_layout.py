"""Stable Diffusion folders as single files under the names of its original code: what checkpoints for download hold.

Owns the names, written down apart from the conversion that is tested with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

UNET_LAYERS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
UNET_RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
VAE_ATTENTION = {"group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.", "to_out.0.": "proj_out."}
OPEN_CLIP_LAYER = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
OPEN_CLIP_TOP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


def original_checkpoint(folder: Path, *, open_clip: bool = False) -> dict[str, Tensor]:
    """Every weight of a Stable Diffusion 1 or XL folder under its original name and in its original shape.

    With ``open_clip``, the one text encoder of a folder that has one is written as in Stable Diffusion 2.
    """
    weights = {f"model.diffusion_model.{name}": value for name, value in _unet(folder).items()}
    weights |= {f"first_stage_model.{name}": value for name, value in _autoencoder(folder).items()}
    text = _unwrapped(folder / "text_encoder")
    if (folder / "text_encoder_2").is_dir():
        weights |= {f"conditioner.embedders.0.transformer.text_model.{name}": value for name, value in text.items()}
        second = _open_clip(_unwrapped(folder / "text_encoder_2"))
        weights |= {f"conditioner.embedders.1.model.{name}": value for name, value in second.items()}
    elif open_clip:
        weights |= {f"cond_stage_model.model.{name}": value for name, value in _open_clip(text).items()}
        weights["cond_stage_model.model.text_projection"] = torch.zeros(text["final_layer_norm.weight"].numel(), 16)
        weights["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    else:
        weights |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in text.items()}
    # As in real files: a buffer that no module has any more, and noise levels that nobody reads.
    weights["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    return weights


def write_checkpoint(
    folder: Path, file: Path, changes: Mapping[str, Tensor | None] | None = None, *, open_clip: bool = False
) -> Path:
    """Writes a folder as one file, and returns that; a change replaces a weight, or takes it away."""
    weights = original_checkpoint(folder, open_clip=open_clip) | dict(changes or {})
    save_file({name: value.contiguous() for name, value in weights.items() if value is not None}, file)
    return file


def _weights(part: Path) -> dict[str, Tensor]:
    (file,) = part.glob("*.safetensors")
    return load_file(file)


def _unet(folder: Path) -> dict[str, Tensor]:
    weights = _weights(folder / "unet")
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"] + 1
    attending = {name.split(".")[1] for name in weights if name.startswith("up_blocks.") and ".attentions." in name}
    return {_unet_name(name, layers, attending): value for name, value in weights.items()}


def _unet_name(name: str, layers: int, attending_up_blocks: set[str]) -> str:
    for ours, original in UNET_LAYERS.items():
        if name.startswith(ours):
            return original + name.removeprefix(ours)
    found = re.fullmatch(
        r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name
    )
    assert found is not None, name
    side, block, kind, index, rest = found.groups()
    if side == "mid":
        return f"middle_block.{2 * int(index)}.{_resnet(rest)}" if kind == "resnets" else f"middle_block.1.{rest}"
    first = int(block) * layers
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers - 1}.{2 if block in attending_up_blocks else 1}.{rest}"
    place = f"input_blocks.{1 + first + int(index)}" if side == "down" else f"output_blocks.{first + int(index)}"
    return f"{place}.0.{_resnet(rest)}" if kind == "resnets" else f"{place}.1.{rest}"


def _resnet(rest: str) -> str:
    return _renamed(rest, UNET_RESNET)


def _renamed(name: str, names: dict[str, str]) -> str:
    ours = next(each for each in names if name.startswith(each))
    return names[ours] + name.removeprefix(ours)


def _autoencoder(folder: Path) -> dict[str, Tensor]:
    weights = _weights(folder / "vae")
    last = len(json.loads((folder / "vae" / "config.json").read_text())["up_block_types"]) - 1
    original: dict[str, Tensor] = {}
    for name, value in weights.items():
        if found := re.fullmatch(r"((?:en|de)coder)\.mid_block\.attentions\.0\.(.+)", name):
            # Its linear layers were convolutions of one pixel.
            shape = value[:, :, None, None] if value.ndim == 2 else value
            original[f"{found[1]}.mid.attn_1.{_renamed(found[2], VAE_ATTENTION)}"] = shape
            continue
        if found := re.fullmatch(r"((?:en|de)coder)\.mid_block\.resnets\.(\d)\.(.+)", name):
            new = f"{found[1]}.mid.block_{int(found[2]) + 1}.{found[3]}"
        elif found := re.fullmatch(r"encoder\.down_blocks\.(\d)\.(.+)", name):
            new = f"encoder.down.{found[1]}.{found[2]}"
        elif found := re.fullmatch(r"decoder\.up_blocks\.(\d)\.(.+)", name):
            new = f"decoder.up.{last - int(found[1])}.{found[2]}"
        else:
            new = name.replace("conv_norm_out", "norm_out")
        new = new.replace("resnets.", "block.").replace("conv_shortcut", "nin_shortcut")
        original[new.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")] = value
    return original


def _unwrapped(part: Path) -> dict[str, Tensor]:
    return {name.removeprefix("text_model."): value for name, value in _weights(part).items()}


def _open_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    original: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name == "text_projection.weight":
            original["text_projection"] = value.T
        elif name in OPEN_CLIP_TOP:
            original[OPEN_CLIP_TOP[name]] = value
        elif found := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            three = [weights[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            original[f"transformer.resblocks.{found[1]}.attn.in_proj_{found[2]}"] = torch.cat(three)
        elif found := re.fullmatch(r"encoder\.layers\.(\d+)\.((?!self_attn\.[kv]_proj).+)", name):
            original[f"transformer.resblocks.{found[1]}.{_renamed(found[2], OPEN_CLIP_LAYER)}"] = value
    return original
