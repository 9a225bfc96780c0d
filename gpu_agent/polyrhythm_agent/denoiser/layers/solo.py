"""What a denoiser is handed when it runs alone: an exchange without peers, seams without an effect.

Owns nothing but the absence of things; also the composition of several seams into one.
"""

from __future__ import annotations

from torch import Tensor

from polyrhythm_agent.ports.denoiser import LayerSeam
from polyrhythm_agent.ports.layers import Part


class SoloExchange:
    """The exchange of a device that holds all rows."""

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """The own rows are all rows."""
        del layer
        return own_KBND

    def halo(self, layer: int, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """The picture ends on both sides."""
        del layer, own_BCHW
        return None, None

    def collect(self, layer: int, own_MBG: Tensor) -> tuple[Part, ...]:
        """Nobody else has rows."""
        del layer, own_MBG
        return ()


class OpenSeam:
    """Lets every layer pass."""

    def begin_layer(self, layer: str) -> None:
        """Does nothing."""

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        """The output as it is."""
        del layer
        return output


class NestedSeams:
    """Several seams as one: the first is the outermost, it begins first and ends last."""

    def __init__(self, *seams: LayerSeam) -> None:
        self._seams = seams

    def begin_layer(self, layer: str) -> None:
        """Begins all, outermost first."""
        for seam in self._seams:
            seam.begin_layer(layer)

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        """Ends all, innermost first; each gets what the one inside it returned."""
        for seam in reversed(self._seams):
            output = seam.end_layer(layer, output)
        return output
