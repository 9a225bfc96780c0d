"""Seams nest: the first begins first and ends last."""

from __future__ import annotations

import torch
from torch import Tensor

from polyrhythm_agent.denoiser.layers.solo import NestedSeams, OpenSeam, SoloExchange


class Scribe:
    """Writes down what it sees and adds its number to what passes."""

    def __init__(self, number: int, log: list[tuple[str, int, str, float]]) -> None:
        self._number = number
        self._log = log

    def begin_layer(self, layer: str) -> None:
        self._log.append(("begin", self._number, layer, 0.0))

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        self._log.append(("end", self._number, layer, float(output)))
        return output + self._number


def test_nested_seams_begin_outside_in_and_end_inside_out() -> None:
    log: list[tuple[str, int, str, float]] = []
    seams = NestedSeams(Scribe(1, log), OpenSeam(), Scribe(10, log))
    seams.begin_layer("block.0")
    assert float(seams.end_layer("block.0", torch.tensor(100.0))) == 111.0
    assert log == [
        ("begin", 1, "block.0", 0.0),
        ("begin", 10, "block.0", 0.0),
        ("end", 10, "block.0", 100.0),
        ("end", 1, "block.0", 110.0),
    ]


def test_solo_exchange_returns_what_it_was_given() -> None:
    own_KBND = torch.zeros(2, 1, 4, 8)
    assert SoloExchange().gather(0, own_KBND) is own_KBND
