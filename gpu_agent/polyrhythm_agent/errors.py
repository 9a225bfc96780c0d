"""Errors inside an agent. All of them end an epoch; none of them ends the worker."""

from __future__ import annotations

from polyrhythm.errors import PolyrhythmError


class TransportError(PolyrhythmError):
    """A peer vanished, refused, or the transport was aborted."""


class EpochAbortedError(PolyrhythmError):
    """The coordinator ended the epoch at once."""


class EpochCancelledError(PolyrhythmError):
    """All members agreed to stop at a boundary."""


class ModelFolderError(PolyrhythmError, ValueError):
    """A model folder cannot be loaded: missing, no safetensors, or an unknown pipeline."""
