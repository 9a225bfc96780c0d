"""An exchange between a step loop and the real one, in which a test may lose what one step hears of others."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm_agent.epoch.step_loop import Exchange
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Part


class TappedExchange:
    """Passes everything through; a subclass changes one layer of one step, where ``is_tapped`` says so.

    Args:
        inner: the real one.
        step: active step of this member.
        layer: the exchanging layer.
    """

    def __init__(self, inner: Exchange, *, step: int, layer: LayerId) -> None:
        self._inner = inner
        self._step = step
        self._layer = layer
        self._now = -1

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    @contextmanager
    def step(self, step: int) -> Generator[ActivationExchange]:
        with self._inner.step(step) as exchange:
            self._exchange = exchange
            self._now = step
            yield self

    @property
    def whole(self) -> bool:
        return self._exchange.whole

    def is_tapped(self, layer: LayerId) -> bool:
        return (self._now, layer) == (self._step, self._layer)

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        return self._exchange.gather(layer, own_KBND)

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        return self._exchange.halo(layer, own_BCHW)

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        return self._exchange.collect(layer, own_MBG)
