"""Ends a measurement that nobody waits for any more, within a layer. Set from the channel's thread."""

from __future__ import annotations

import threading

from torch import Tensor

from polyrhythm_agent.errors import MeasuringStoppedError
from polyrhythm_agent.ports.denoiser import LayerSeam


class MeasuringStop:
    """Whether one measurement is to end."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """From any thread."""
        self._asked.set()

    def check(self) -> None:
        """Raises MeasuringStoppedError once it was asked for."""
        if self._asked.is_set():
            raise MeasuringStoppedError("nobody waits for the measurement any more")


class StoppableSeam:
    """A ``LayerSeam`` that begins no layer of a measurement that is to end.

    Args:
        seam: that does the work.
        stop: looked at before every layer.
    """

    def __init__(self, seam: LayerSeam, stop: MeasuringStop) -> None:
        self._seam = seam
        self._stop = stop

    def begin_layer(self, layer: str) -> None:
        """Before a layer.

        Raises:
            MeasuringStoppedError: the measurement is to end.
        """
        self._stop.check()
        self._seam.begin_layer(layer)

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        """After a layer."""
        return self._seam.end_layer(layer, output)
