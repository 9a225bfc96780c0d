"""The demo model's autoencoder: its shape and its training.

Owns everything between pictures and latents. Must not know of captions or of the denoiser.

The loss is L1 on pixels and on their differences, a small KL term, and, on some steps, the same on latents
averaged 2 x 2 against pictures averaged alike: latents whose scale means the picture's scale are easier to denoise
(equivariance regularisation, Kouzelis et al. 2025, "EQ-VAE", section 3.2).
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from demo_model.checkpoint import load_checkpoint, save_checkpoint
from demo_model.data import Painter

KL_WEIGHT = 3e-3
EQUIVARIANCE_SHARE = 0.3
CROP_PX = 64
BATCH = 16
PEAK_RATE = 1.5e-3
WARM_UP_STEPS = 100
CALIBRATION_SEED = 99


def new_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder: two down-samplings (f = 4), four latent channels, 1.6 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=128,
        mid_block_add_attention=False,
    )


def reconstruction_loss(output_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Mean absolute error of pixels plus that of neighbours' differences, which keeps edges sharp."""
    error_BCHW = output_BCHW - target_BCHW
    across = (error_BCHW[..., 1:] - error_BCHW[..., :-1]).abs().mean()
    down = (error_BCHW[..., 1:, :] - error_BCHW[..., :-1, :]).abs().mean()
    return error_BCHW.abs().mean() + 0.5 * (across + down)


def draw_crops(painters: tuple[Painter, Painter], generator: torch.Generator) -> Tensor:
    """Half whole pictures at 64 px, half 64 px windows of pictures at 128 px; ``[B, 3, 64, 64]``."""
    half = BATCH // 2
    small_BCHW = painters[0].draw(half, generator).images_BCHW
    large_BCHW = painters[1].draw(half, generator).images_BCHW
    free = painters[1].size_px - CROP_PX + 1
    corners = torch.randint(free, (half, 2), generator=generator).tolist()
    windows = [image[:, y : y + CROP_PX, x : x + CROP_PX] for image, (y, x) in zip(large_BCHW, corners, strict=True)]
    return torch.cat([small_BCHW, torch.stack(windows)])


def step_loss(vae: AutoencoderKL, image_BCHW: Tensor, *, halve: bool) -> tuple[Tensor, Tensor]:
    """Loss of one batch and its reconstruction part; ``halve`` asks for the equivariance variant."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(image_BCHW).latent_dist
        latent_BCHW = posterior.sample()
        if halve:
            latent_BCHW, image_BCHW = F.avg_pool2d(latent_BCHW, 2), F.avg_pool2d(image_BCHW, 2)
        output_BCHW = vae.decode(latent_BCHW).sample
    reconstruction = reconstruction_loss(output_BCHW.float(), image_BCHW)
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return reconstruction + KL_WEIGHT * kl, reconstruction.detach()


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return PEAK_RATE * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def train_autoencoder(work_dir: Path, *, steps: int, seed: int, save_every_s: float) -> AutoencoderKL:
    """Train, or go on from the checkpoint in ``work_dir``, until ``steps``; returns the trained autoencoder."""
    torch.manual_seed(seed)
    vae = new_autoencoder()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    path = work_dir / "autoencoder.pt"
    first = load_checkpoint(path, {"vae": vae, "optimizer": optimizer})
    painters = (Painter(CROP_PX), Painter(2 * CROP_PX))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
    torch.manual_seed(seed * 1_000_003 + first)
    saved_s = time.monotonic()
    average = 0.0
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        halve = bool(torch.rand((), generator=generator) < EQUIVARIANCE_SHARE)
        loss, reconstruction = step_loss(vae, draw_crops(painters, generator), halve=halve)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average += (float(reconstruction) - average) / min(100, step - first + 1)
        if step % 100 == 0:
            print(f"autoencoder step {step}/{steps} reconstruction loss {average:.4f}", flush=True)
        if time.monotonic() - saved_s > save_every_s or step + 1 == steps:
            save_checkpoint(path, step + 1, {"vae": vae, "optimizer": optimizer})
            saved_s = time.monotonic()
    return vae.eval()


@torch.no_grad()
def centre_and_scale(vae: AutoencoderKL, *, seed: int, count: int = 256) -> None:
    """Make the scaled latents of training pictures zero-mean in each channel, of standard deviation 1 overall.

    The mean goes into the biases of the two 1 x 1 convolutions around the latent, since PixArt pipelines know of a
    scaling factor only; the deviation becomes that factor.
    """
    # Any: diffusers declares both as optional, and this configuration has both.
    into_latent: Any = vae.quant_conv
    out_of_latent: Any = vae.post_quant_conv
    image_BCHW = Painter(2 * CROP_PX).draw(count, torch.Generator().manual_seed(seed)).images_BCHW
    latent_BCHW = torch.cat([vae.encode(part).latent_dist.mean for part in image_BCHW.split(32)])
    mean_C = latent_BCHW.mean(dim=(0, 2, 3))
    into_latent.bias[: len(mean_C)] -= mean_C
    out_of_latent.bias += out_of_latent.weight[:, :, 0, 0] @ mean_C
    deviation = (latent_BCHW - mean_C[:, None, None]).square().mean().sqrt()
    vae.register_to_config(scaling_factor=round(1 / float(deviation), 5))


@torch.no_grad()
def measure(vae: AutoencoderKL, *, seed: int, count: int = 64) -> dict[str, float]:
    """Latent mean and standard deviation, and PSNR of the reconstruction in dB, on fresh 128 px pictures."""
    image_BCHW = Painter(2 * CROP_PX).draw(count, torch.Generator().manual_seed(seed)).images_BCHW
    latent_BCHW = vae.encode(image_BCHW).latent_dist.mean
    error_B = (vae.decode(latent_BCHW).sample.clamp(-1, 1) - image_BCHW).square().mean(dim=(1, 2, 3))
    return {
        "latent_mean": float(latent_BCHW.mean()),
        "latent_std": float(latent_BCHW.std()),
        "psnr_db": float((10 * torch.log10(4 / error_B)).mean()),
    }


def ready_autoencoder(work_dir: Path, *, taken_from: Path | None, steps: int, seed: int) -> AutoencoderKL:
    """The autoencoder in ``work_dir``, frozen; taken over from another model or trained first if need be."""
    folder = work_dir / "vae"
    if not folder.is_dir() and taken_from is not None:
        taken = AutoencoderKL.from_pretrained(taken_from / "vae", local_files_only=True, torch_dtype=torch.float32)
        taken.save_pretrained(folder)
    elif not folder.is_dir():
        trained = train_autoencoder(work_dir, steps=steps, seed=seed, save_every_s=90)
        centre_and_scale(trained, seed=CALIBRATION_SEED)
        print("autoencoder", json.dumps(measure(trained, seed=CALIBRATION_SEED + 1)), flush=True)
        trained.save_pretrained(folder)
    vae = AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    vae.requires_grad_(requires_grad=False)
    return vae
