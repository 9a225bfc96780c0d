"""Which arithmetic suits a device, where nobody said. Pure, but for asking torch what the device is."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import torch

from polyrhythm.model.loading_choices import DtypeChoice

log = structlog.get_logger()

BFLOAT16_FROM = (8, 0)
"""Compute capability: Ampere and later multiply in bfloat16."""
FAST_FLOAT16 = ((6, 0), (6, 2), (7, 0), (7, 2), (7, 5))
"""Older ones that compute in float16 at twice the speed of float32 or more (CUDA programming guide, throughput of
arithmetic instructions); 6.1 does at a 64th, and what is before 6.0 not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeDevice:
    """What decides it.

    Attributes:
        name: for people.
        capability: compute capability of a CUDA device; None for a CPU.
    """

    name: str
    capability: tuple[int, int] | None = None


def device_of(device: torch.device) -> ComputeDevice:
    """What torch says about a device."""
    if device.type != "cuda":
        return ComputeDevice(name=str(device))
    return ComputeDevice(name=torch.cuda.get_device_name(device), capability=torch.cuda.get_device_capability(device))


def dtype_for(asked: str, device: ComputeDevice) -> str:
    """The arithmetic to load a model in.

    Args:
        asked: name of a dtype, or ``auto``.
        device: what computes.
    """
    if asked != DtypeChoice.AUTO:
        return asked
    chosen = DtypeChoice.FLOAT32
    if device.capability is not None and device.capability >= BFLOAT16_FROM:
        chosen = DtypeChoice.BFLOAT16
    elif device.capability in FAST_FLOAT16:
        chosen = DtypeChoice.FLOAT16
    log.info("arithmetic by the device", device=device.name, dtype=chosen.value)
    return chosen
