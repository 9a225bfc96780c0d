"""How an agent may be told to load its model: arithmetic, and where the denoiser's weights stay."""

from __future__ import annotations

from enum import StrEnum


class DtypeChoice(StrEnum):
    """Arithmetic of a denoiser; the agent decides for ``auto``, by its device."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT64 = "float64"


class OffloadChoice(StrEnum):
    """Whether the denoiser's weights stay outside of the device's memory; for ``auto``, where they would not fit."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"
