"""The training of a demo model's denoiser.

Owns the optimizers' course, the moving average and the stages. Takes latents from an autoencoder and captions from a
text encoder that are both ready and stay as they are; ``noise`` owns the loss.

Pictures of 64 px first, of 128 px then: the second stage starts from what the first has learned at a quarter of its
cost.

Shape legend: B pictures, C latent channels, H, W latent pixels, L tokens, D text channels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from demo_model.checkpoint import load_checkpoint, save_checkpoint
from demo_model.cores import FreeCores
from demo_model.data import Painter
from demo_model.family import Family
from demo_model.noise import noise_errors, signal_shares
from demo_model.optimizers import new_optimizers
from demo_model.text import CaptionTable

CAPTION_DROP_SHARE = 0.1
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

    family: Family
    denoiser: nn.Module
    average: AveragedModel
    optimizers: dict[str, Any]

    @classmethod
    def start(cls, family: Family, seed: int, peak_rate: float) -> Training:
        """Fresh weights by seed."""
        torch.manual_seed(seed)
        denoiser = family.new_denoiser()
        average = AveragedModel(denoiser, multi_avg_fn=_average)
        optimizers = new_optimizers(denoiser, family.muon_weights(denoiser), peak_rate)
        return cls(family=family, denoiser=denoiser, average=average, optimizers=optimizers)

    def predict(self, noisy_BCHW: Tensor, timestep_B: Tensor, *, text_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """The noise that the denoiser sees."""
        return self.family.predict_noise(self.denoiser, noisy_BCHW, timestep_B, text_BLD, mask_BL)

    def parts(self) -> dict[str, Any]:
        """The states by name."""
        return {"denoiser": self.denoiser, "average": self.average, **self.optimizers}


def train_denoiser(
    family: Family, work_dir: Path, vae: AutoencoderKL, captions: CaptionTable, recipe: Recipe
) -> Training:
    """Train, or go on from the checkpoint in ``work_dir``, to the end of the recipe."""
    training = Training.start(family, recipe.seed, recipe.peak_rate)
    path = work_dir / "denoiser.pt"
    step = load_checkpoint(path, training.parts())
    training.denoiser.train()
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
    signal_share_T = signal_shares()
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
            predict = partial(training.predict, text_BLD=text_BLD, mask_BL=mask_BL)
            error_B, weight_B = noise_errors(predict, latent_BCHW, signal_share_T, generator)
            loss = (error_B * weight_B).mean()
            for optimizer in training.optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(training.denoiser.parameters(), 1.0)
            for optimizer in training.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, recipe)
                optimizer.step()
            training.average.update_parameters(training.denoiser)
            yield step, float(loss.detach())
        first = stage.end_step
