"""What a denoiser is handed when it runs alone: an exchange without peers, and nobody who looks on.

Owns nothing but the absence of things.
"""

from __future__ import annotations

from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm_agent.ports.layers import Part


class SoloExchange:
    """The exchange of a device that holds all rows."""

    whole = True

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """The own rows are all rows."""
        del layer
        return own_KBND

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """The picture ends on both sides."""
        del layer, own_BCHW
        return None, None

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """Nobody else has rows."""
        del layer, own_MBG
        return ()


class NoObserver:
    """Lets every block pass."""

    def begin_block(self, block: LayerId) -> None:
        """Does nothing."""

    def end_block(self, block: LayerId) -> None:
        """Does nothing."""
