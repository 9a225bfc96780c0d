"""A working folder from an exported model, so that training goes on where no checkpoint was kept.

The optimisers' state is lost and the weights are rounded to fp16; both heal within some hundred steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from demo_model.checkpoint import save_checkpoint
from demo_model.denoiser import Recipe, Training
from demo_model.family import Family


def restart_from(family: Family, folder: Path, work_dir: Path, *, step: int, recipe: Recipe) -> None:
    """Fills an empty working folder.

    Args:
        family: the exported model's.
        folder: an exported model.
        work_dir: where checkpoints live; must not hold any.
        step: of the recipe, from which training is to go on.
        recipe: by which it goes on.

    Raises:
        FileExistsError: the working folder holds a checkpoint already.
    """
    checkpoint = work_dir / "denoiser.pt"
    if checkpoint.exists():
        raise FileExistsError(f"{checkpoint} exists; it is newer than any export")
    vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True, torch_dtype=torch.float32)
    vae.save_pretrained(work_dir / "vae")
    family.load_text_encoder(folder / "text_encoder").save_pretrained(work_dir / "text_encoder")
    training = Training.start(family, recipe.seed, recipe.peak_rate)
    exported = family.load_denoiser(folder / family.component)
    for model in (training.denoiser, training.average.module):
        model.load_state_dict(exported.state_dict())
    save_checkpoint(checkpoint, step, training.parts())
