"""What a denoiser asks of the exchange in one step.

Shape letters: B batch, C channels, H W height and width, N tokens in row-major order, D width of the denoiser, K the
pair (key, value), M the pair (mean, variance), G groups.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from polyrhythm_agent.ports.layers import Part


class ActivationExchange(Protocol):
    """One active step's view of the other agents' rows, handed to the denoiser.

    Every layer is called once, in ascending order, by the method of its kind. Tensors handed over must not be written
    to afterwards. All methods raise ``EpochAbortedError`` if the epoch ends while they wait.
    """

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows' keys and values of a layer and returns those of all rows.

        Args:
            layer: index of the exchanging layer, 0 first.
            own_KBND: ``(2, batch, own tokens, features)``.

        Returns:
            ``(2, batch, all tokens, features)`` in image order: own rows of this step, other rows of the version that
            the plan names.
        """
        ...

    def halo(self, layer: int, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Publishes the rims of the own rows and returns those of the neighbours.

        Args:
            layer: index of the exchanging layer.
            own_BCHW: ``(batch, features, own rows of cells, columns)``.

        Returns:
            The ``rows_above`` rows above the own ones and the ``rows_below`` rows below; None where none are needed or
            the picture ends.
        """
        ...

    def collect(self, layer: int, own_MBG: Tensor) -> tuple[Part, ...]:
        """Publishes moments of the own rows and returns those that others have published.

        Args:
            layer: index of the exchanging layer.
            own_MBG: ``(2, batch, features)``: mean and (biased) variance of each group.

        Returns:
            In a synchronous step everybody else's of this step. In a displaced one everybody's as they were before,
            the own ones of the own active step before among them. Nothing where all rows are the own ones.
        """
        ...
