"""Names of the models that the project itself trained: one is in every installation, all are in a checkout."""

from __future__ import annotations

DEFAULT_MODEL = "demo-unet"
"""Loaded where nobody names another; the wheel holds it."""

SHIPPED_MODELS = (DEFAULT_MODEL, "demo-transformer")
"""What may be asked for by name alone; which of them an installation holds, only its agents can say."""
