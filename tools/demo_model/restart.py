"""A working folder from an exported model, so that training goes on where no checkpoint was kept.

The optimisers' state is lost and the weights are rounded to fp16; both heal within some hundred steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from transformers import T5EncoderModel

from demo_model.checkpoint import save_checkpoint
from demo_model.denoiser import Training


def restart_from(folder: Path, work_dir: Path, *, step: int, seed: int, peak_rate: float) -> None:
    """Fills an empty working folder.

    Args:
        folder: an exported model.
        work_dir: where checkpoints live; must not hold any.
        step: of the recipe, from which training is to go on.
        seed: of the recipe.
        peak_rate: of the recipe.

    Raises:
        FileExistsError: the working folder holds a checkpoint already.
    """
    checkpoint = work_dir / "denoiser.pt"
    if checkpoint.exists():
        raise FileExistsError(f"{checkpoint} exists; it is newer than any export")
    vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True)
    vae.float().save_pretrained(work_dir / "vae")
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    encoder.float().save_pretrained(work_dir / "text_encoder")
    training = Training.start(seed, peak_rate)
    exported = PixArtTransformer2DModel.from_pretrained(
        folder / "transformer", local_files_only=True, torch_dtype=torch.float32
    )
    for model in (training.transformer, training.average.module):
        model.load_state_dict(exported.state_dict())
    save_checkpoint(checkpoint, step, training.parts())
