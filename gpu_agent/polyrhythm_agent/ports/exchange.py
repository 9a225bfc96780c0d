"""What a denoiser asks of the exchange in one step.

Shape letters: B batch, C channels, H W height and width, N tokens in row-major order, D width of the denoiser, K the
pair (key, value), M the pair (mean, variance), G groups.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm_agent.ports.layers import Part


class ActivationExchange(Protocol):
    """One active step's view of the other agents' rows, handed to the denoiser.

    Every layer is called once, in the order of ``Geometry.layers``, by the method of its kind. Tensors handed over must
    not be written to afterwards. All methods raise ``EpochAbortedError`` if the epoch ends while they wait.
    """

    @property
    def whole(self) -> bool:
        """Whether the own rows are the picture and nobody reads them; moments are then not asked for."""
        ...

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows' keys and values of a layer and returns those of all rows.

        Args:
            layer: which one.
            own_KBND: ``(2, batch, own tokens, features)``.

        Returns:
            ``(2, batch, all tokens, features)`` in image order: own rows of this step, other rows of the version that
            the plan names.
        """
        ...

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Publishes the rims of the own rows and returns those of the neighbours.

        Args:
            layer: which one.
            own_BCHW: ``(batch, features, own rows of cells, columns)``.

        Returns:
            The ``rows_above`` rows above the own ones and the ``rows_below`` rows below; None where none are needed or
            the picture ends.
        """
        ...

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """Publishes moments of the own rows and returns those that others have published.

        Args:
            layer: which one.
            own_MBG: ``(2, batch, features)``: mean and (biased) variance of each group.

        Returns:
            In a synchronous step everybody else's of this step. In a displaced one everybody's as they were before,
            the own ones of the own active step before among them. Nothing where all rows are the own ones.
        """
        ...


class RepeatableExchange(ActivationExchange, Protocol):
    """The same, of a step whose forward may be run again."""

    def repeat(self) -> None:
        """Begins the step again: the same versions of other rows are read, and nothing is published a second time.

        What others were sent is what the first forward made, so that a picture follows from plan and seed, and nobody
        else notices.
        """
        ...
