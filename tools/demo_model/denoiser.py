"""The demo model's denoiser: its shape and its training.

Owns the loss, the optimizers, the moving average and the stages. Takes latents from an autoencoder and captions from a
text encoder that are both ready and stay as they are.

The denoiser predicts the noise; a step's loss is weighted by clamp(SNR, 0.1, 5) / SNR, at most 100. The upper bound of
the SNR is that of Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy", section 3.4. The
lower bound is ours: where there is almost only noise, the name decides almost everything, and an error of the predicted
noise hardly shows it.

Pictures of 64 px first, of 128 px then: the position embedding of PixArt spans the same range for both, so the second
stage starts from what the first has learned at a quarter of its cost.

Shape legend: B pictures, C latent channels, H, W latent pixels, L tokens, D text channels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtTransformer2DModel
from torch import Tensor, nn
from torch.optim import AdamW, Muon
from torch.optim.swa_utils import AveragedModel

from demo_model.attention import MatrixProductAttention
from demo_model.checkpoint import load_checkpoint, save_checkpoint
from demo_model.cores import FreeCores
from demo_model.data import Painter
from demo_model.text import WIDTH as TEXT_WIDTH
from demo_model.text import CaptionTable

CAPTION_DROP_SHARE = 0.1
MIN_SNR_GAMMA = 5.0
SNR_FLOOR = 0.1
MOST_WEIGHT = 100.0
EMA_DECAY = 0.998
WARM_UP_STEPS = 100
POOL_SIZE = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of the training at one picture size."""

    size_px: int
    batch: int
    end_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the course of a training, apart from the code.

    Attributes:
        stages: In order; the last one's end is the end of the training.
        peak_rate: Learning rate after the warm-up, until the decay.
        decay_steps: Length of the final linear decay to zero.
        seed: Of weights, pictures and noise.
        save_every_s: Wall time between checkpoints.
        threads: The most to use; fewer while others need the cores.
    """

    stages: tuple[Stage, ...]
    peak_rate: float
    decay_steps: int
    seed: int
    save_every_s: float
    threads: int

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages together."""
        return self.stages[-1].end_step


def new_transformer() -> PixArtTransformer2DModel:
    """An untrained denoiser: 6 blocks of width 256, 7 M parameters, 16 x 16 tokens for a 128 px picture.

    Eight output channels as in the published PixArt weights; samplers ignore the last four, and here they stay zero.
    """
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=64,
        in_channels=4,
        out_channels=8,
        num_layers=6,
        cross_attention_dim=256,
        sample_size=32,
        patch_size=2,
        caption_channels=TEXT_WIDTH,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    _start_as_identity(transformer)
    return transformer


@torch.no_grad()
def _start_as_identity(transformer: PixArtTransformer2DModel) -> None:
    """Initialise as DiT does (Peebles and Xie 2023, section 3.2): every residual branch starts at zero."""
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for block in transformer.transformer_blocks:
        block.scale_shift_table.zero_()
        block.attn2.to_out[0].weight.zero_()
    for layer in (transformer.adaln_single.linear, transformer.proj_out):
        layer.weight.zero_()
        layer.bias.zero_()
    for layer in (
        transformer.adaln_single.emb.timestep_embedder.linear_1,
        transformer.adaln_single.emb.timestep_embedder.linear_2,
    ):
        nn.init.normal_(layer.weight, std=0.02)


def predict_noise(
    transformer: nn.Module, noisy_BCHW: Tensor, timestep_B: Tensor, text_BLD: Tensor, mask_BL: Tensor
) -> Tensor:
    """The noise that the denoiser sees in ``noisy_BCHW``, given the captions' text states."""
    output_BCHW = transformer(
        noisy_BCHW,
        encoder_hidden_states=text_BLD,
        encoder_attention_mask=mask_BL,
        timestep=timestep_B,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]
    return output_BCHW[:, : noisy_BCHW.shape[1]]


class LatentPool:
    """Latents of freshly drawn pictures, each handed out about eight times before a newer one takes its place."""

    def __init__(self, vae: AutoencoderKL, stage: Stage, generator: torch.Generator) -> None:
        """Start empty; the first batches are all new."""
        self._vae = vae
        self._painter = Painter(stage.size_px)
        self._batch = stage.batch
        self._generator = generator
        side = stage.size_px // 4
        self._latents_NCHW = torch.empty(POOL_SIZE, 4, side, side)
        self._names_N = torch.empty(POOL_SIZE, dtype=torch.long)
        self._colours_N = torch.empty(POOL_SIZE, dtype=torch.long)
        self._drawn = 0

    def next_batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled latents ``[B, 4, H, W]``, names ``[B]`` and colours ``[B]``."""
        filled = min(self._drawn, POOL_SIZE)
        self._add(self._batch if filled < 16 * self._batch else self._batch // 8)
        filled = min(self._drawn, POOL_SIZE)
        pick_B = torch.randint(filled, (self._batch,), generator=self._generator)
        return self._latents_NCHW[pick_B], self._names_N[pick_B], self._colours_N[pick_B]

    @torch.no_grad()
    def _add(self, count: int) -> None:
        drawn = self._painter.draw(count, self._generator)
        with torch.autocast("cpu", torch.bfloat16):
            latent_BCHW = self._vae.encode(drawn.images_BCHW).latent_dist.mean
        slot_B = (self._drawn + torch.arange(count)) % POOL_SIZE
        self._latents_NCHW[slot_B] = latent_BCHW.float() * self._vae.config["scaling_factor"]
        self._names_N[slot_B] = drawn.names_B
        self._colours_N[slot_B] = drawn.colours_B
        self._drawn += count


def new_scheduler() -> DPMSolverMultistepScheduler:
    """The noise schedule of PixArt: linear betas from 1e-4 to 2e-2 over 1000 steps."""
    return DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", num_train_timesteps=1000)


def noise_errors(
    transformer: nn.Module,
    latent_BCHW: Tensor,
    text_BLD: Tensor,
    mask_BL: Tensor,
    signal_share_T: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Squared error of the predicted noise, and its weight in the training's loss; ``[B]`` each.

    Args:
        transformer: The denoiser.
        latent_BCHW: Clean, scaled latents.
        text_BLD: Text states of the captions.
        mask_BL: 1 where a token counts.
        signal_share_T: Cumulative product of alphas for each of the schedule's steps.
        generator: Source of steps and noise.
    """
    count, steps = len(latent_BCHW), len(signal_share_T)
    # Stratified: one step out of each of B equal stretches, so that the loss of batches varies less.
    place_B = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    timestep_B = (place_B * steps).long().clamp(max=steps - 1)
    share_B = signal_share_T[timestep_B]
    noise_BCHW = torch.randn(latent_BCHW.shape, generator=generator)
    noisy_BCHW = (
        share_B.sqrt()[:, None, None, None] * latent_BCHW + (1 - share_B).sqrt()[:, None, None, None] * noise_BCHW
    )
    with torch.autocast("cpu", torch.bfloat16):
        predicted_BCHW = predict_noise(transformer, noisy_BCHW, timestep_B, text_BLD, mask_BL)
    error_B = (predicted_BCHW.float() - noise_BCHW).square().mean(dim=(1, 2, 3))
    snr_B = share_B / (1 - share_B)
    weight_B = (snr_B.clamp(SNR_FLOOR, MIN_SNR_GAMMA) / snr_B).clamp(max=MOST_WEIGHT)
    return error_B, weight_B


def new_optimizers(transformer: PixArtTransformer2DModel, peak_rate: float) -> dict[str, Any]:
    """Muon for the blocks' matrices (Jordan et al. 2024), AdamW for everything else."""
    matrices = [p for p in transformer.transformer_blocks.parameters() if p.ndim == 2 and p.shape[0] >= 256]
    chosen = {id(p) for p in matrices}
    others = [p for p in transformer.parameters() if id(p) not in chosen]
    return {
        "muon": Muon(matrices, lr=peak_rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        "adamw": AdamW(others, lr=peak_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    }


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, a plateau, a linear decay to zero."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return recipe.peak_rate * warm * min(1.0, (recipe.steps - step) / recipe.decay_steps)


def _average(averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
    # The decay grows with the count, so that an early export does not carry the random start along.
    decay = min(EMA_DECAY, float((1 + count) / (10 + count)))
    torch._foreach_lerp_(averages, currents, 1 - decay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The states of one training run, as its checkpoint holds them."""

    transformer: PixArtTransformer2DModel
    average: AveragedModel
    optimizers: dict[str, Any]

    @classmethod
    def start(cls, recipe_seed: int, peak_rate: float) -> Training:
        """Fresh weights by seed."""
        torch.manual_seed(recipe_seed)
        transformer = new_transformer()
        average = AveragedModel(transformer, multi_avg_fn=_average)
        return cls(transformer=transformer, average=average, optimizers=new_optimizers(transformer, peak_rate))

    def parts(self) -> dict[str, Any]:
        """The states by name."""
        return {"transformer": self.transformer, "average": self.average, **self.optimizers}


def train_denoiser(work_dir: Path, vae: AutoencoderKL, captions: CaptionTable, recipe: Recipe) -> Training:
    """Train, or go on from the checkpoint in ``work_dir``, to the end of the recipe."""
    training = Training.start(recipe.seed, recipe.peak_rate)
    path = work_dir / "denoiser.pt"
    step = load_checkpoint(path, training.parts())
    training.transformer.train()
    training.transformer.set_attn_processor(MatrixProductAttention())
    cores = FreeCores(recipe.threads)
    saved_s = started_s = time.monotonic()
    average_loss = 0.0
    first = step
    for step, loss in _steps(training, vae, captions, recipe, first):
        threads = cores.follow()
        average_loss += (loss - average_loss) / min(100, step - first + 1)
        if step % 25 == 0:
            pace_s = (time.monotonic() - started_s) / (step - first + 1)
            print(
                f"denoiser step {step}/{recipe.steps} loss {average_loss:.4f} {pace_s:.2f} s/step, {threads} threads",
                flush=True,
            )
        if time.monotonic() - saved_s > recipe.save_every_s or step + 1 == recipe.steps:
            save_checkpoint(path, step + 1, training.parts())
            saved_s = time.monotonic()
    return training


def _steps(
    training: Training, vae: AutoencoderKL, captions: CaptionTable, recipe: Recipe, first: int
) -> Iterator[tuple[int, float]]:
    """Do the recipe's steps from ``first`` on, yielding each one's number and loss."""
    signal_share_T = new_scheduler().alphas_cumprod
    # Another stream of pictures and noise after every restart: none is drawn twice.
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + first)
    for stage in recipe.stages:
        if first >= stage.end_step:
            continue
        pool = LatentPool(vae, stage, generator)
        for step in range(first, stage.end_step):
            latent_BCHW, names_B, colours_B = pool.next_batch()
            dropped_B = torch.rand(len(names_B), generator=generator) < CAPTION_DROP_SHARE
            text_BLD, mask_BL = captions.look_up(names_B, colours_B, dropped_B)
            error_B, weight_B = noise_errors(
                training.transformer, latent_BCHW, text_BLD, mask_BL, signal_share_T, generator
            )
            loss = (error_B * weight_B).mean()
            for optimizer in training.optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(training.transformer.parameters(), 1.0)
            for optimizer in training.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, recipe)
                optimizer.step()
            training.average.update_parameters(training.transformer)
            yield step, float(loss.detach())
        first = stage.end_step
