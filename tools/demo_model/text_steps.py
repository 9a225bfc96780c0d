"""The loop in which either text encoder learns what captions look like.

Owns optimizer, schedule and order of the draws. What a token has to tell is the caller's loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demo_model.cores import FreeCores
from demo_model.data import draw_pairs

PEAK_RATE = 2e-3
WARM_UP_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCourse:
    """Length of a training.

    Attributes:
        steps: optimizer steps.
        batch: captions a step.
        told_every: steps between two printed losses.
    """

    steps: int
    batch: int
    told_every: int


def run_course(
    course: TextCourse,
    modules: Sequence[nn.Module],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int,
    threads: int,
) -> None:
    """Trains modules in place, on as many cores as are free.

    Args:
        course: how long.
        modules: the encoder and the linear maps that are thrown away after.
        loss_of: of emoji and background colours, ``(B,)`` indices each.
        seed: of the pairs drawn.
        threads: the most to use.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    warm_up_share = WARM_UP_STEPS / course.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, course.steps, pct_start=warm_up_share)
    generator = torch.Generator().manual_seed(seed)
    cores = FreeCores(threads)
    for step in range(course.steps):
        loss = loss_of(*draw_pairs(course.batch, generator))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        cores.follow()
        if step % course.told_every == 0 or step + 1 == course.steps:
            print(f"text encoder step {step}/{course.steps} loss {float(loss.detach()):.4f}", flush=True)
