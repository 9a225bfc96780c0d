"""Loads a worker's model so that it fits: with all of the denoiser's weights in the device's memory, or offloaded.

Owns the choice of ``--offload auto``. What a plan needs is the coordinator's business; the estimate here is of the
smallest share of a picture of the model's default size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import structlog
import torch

from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.loading_choices import OffloadChoice
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.memory.device_memory import memory_of
from polyrhythm_agent.ports.denoiser import Denoiser

log = structlog.get_logger()

GUIDED_BATCH = 2


class LoadDenoiser(Protocol):
    """``load_denoiser``."""

    def __call__(
        self, path: Path, *, model: str, dtype: torch.dtype, device: torch.device, offload: bool = False
    ) -> Denoiser:
        """Loads a local folder."""
        ...


def load_as_it_fits(
    folder: Path,
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
    offload: str,
    limit_bytes: int | None,
    load: LoadDenoiser = load_denoiser,
) -> Denoiser:
    """Loads a model.

    On a CUDA device ``auto`` looks at it in the host's memory first, since it might not fit. That copy is gone before
    the next one is loaded: the host holds the weights once.

    Args:
        folder: in diffusers format.
        model: name in requests.
        dtype: arithmetic.
        device: where it computes.
        offload: ``auto``, ``never`` or ``always``.
        limit_bytes: what the worker may use at most; None for all that is free.
        load: loads it.

    Raises:
        ModelFolderError: the folder cannot be used.
    """
    whole = offload != OffloadChoice.ALWAYS
    usable_bytes = memory_of(device, weights_bytes=lambda: 0, limit_bytes=limit_bytes).read().usable_bytes
    if offload == OffloadChoice.AUTO:
        looked_at = load(folder, model=model, dtype=dtype, device=torch.device("cpu"))
        need_bytes, memory = smallest_share_bytes(looked_at.facts), looked_at.facts.memory
        if need_bytes > usable_bytes and memory is not None and memory.offloaded_bytes:
            log.warning(
                "the denoiser is offloaded",
                needed_mib=round(need_bytes / 2**20, 1),
                free_mib=round(usable_bytes / 2**20, 1),
            )
            whole = False
        elif device.type == "cpu":
            return looked_at
        del looked_at
    denoiser = load(folder, model=model, dtype=dtype, device=device, offload=not whole)
    if denoiser.facts.offloaded is whole:
        log.warning("this family of models cannot be offloaded", family=denoiser.facts.family)
    return denoiser


def smallest_share_bytes(facts: ModelFacts) -> int:
    """What one row of a picture of the default size takes beside others: weights, text, one version, a forward."""
    memory = facts.memory
    if memory is None:
        return facts.weights_bytes
    width_px, height_px = facts.default_width_px, facts.default_height_px
    tokens_a_row, rows = facts.tokens_per_row(width_px), facts.row_count(height_px)
    cells = {group: (width_px // group.cell_px) * (height_px // group.cell_px) for group in facts.exchanged}
    version_bytes = sum(
        group.layers * group.cell_bytes * cells[group] for group in facts.exchanged if group.kind is LayerKind.TOKENS
    )
    forward_bytes = tokens_a_row * (memory.own_token_bytes + rows * memory.image_token_bytes)
    return memory.denoiser_bytes + GUIDED_BATCH * (memory.condition_bytes + version_bytes + forward_bytes)
