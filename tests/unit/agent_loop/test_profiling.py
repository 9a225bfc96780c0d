"""The measured line t(rows) = fixed + per_row * rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from polyrhythm_agent.denoiser.solo import OpenSeam
from polyrhythm_agent.device_memory import HostMemory
from polyrhythm_agent.parts_in_memory import PartsInMemory
from polyrhythm_agent.profiling import fit_line, row_counts
from polyrhythm_agent.profiling_parts import measure_decoding


def test_an_exact_line_is_found() -> None:
    assert fit_line([(16, 0.1 + 16 * 0.02), (8, 0.1 + 8 * 0.02), (4, 0.1 + 4 * 0.02)]) == pytest.approx((0.1, 0.02))


def test_a_negative_intercept_becomes_a_line_through_the_origin() -> None:
    fixed_s, per_row_s = fit_line([(16, 0.32), (8, 0.12)])
    assert fixed_s == 0.0
    assert 0.015 < per_row_s < 0.02


def test_one_point_gives_a_proportional_cost() -> None:
    assert fit_line([(4, 0.2)]) == pytest.approx((0.0, 0.05))


@pytest.mark.parametrize(("rows", "expected"), [(16, (2, 4, 8, 12, 16)), (3, (1, 2, 3)), (1, (1,))])
def test_row_counts_span_the_picture(rows: int, expected: tuple[int, ...]) -> None:
    assert row_counts(rows, whole=True) == expected


def test_beside_others_no_device_makes_the_whole_picture() -> None:
    assert row_counts(16, whole=False) == (2, 4, 8, 12)


class Decoder:
    """A denoiser of which only the decoding is asked, which fails."""

    def __init__(self, reason: str) -> None:
        self.facts = SimpleNamespace(memory=None, resident_bytes=0)
        self._reason = reason

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        raise RuntimeError(self._reason)


def measure(decoder: Any) -> Tensor | None:
    parts = PartsInMemory((), HostMemory(weights_bytes=lambda: 0))
    image: Any = None  # only a model that knows its memory is asked for the picture's size
    return measure_decoding(torch.zeros(1, 1, 4, 4), image, decoder, OpenSeam(), parts).output


def test_a_part_that_the_host_has_no_memory_for_has_no_room() -> None:
    assert measure(Decoder("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")) is None


def test_another_failure_of_a_part_is_no_lack_of_room() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        measure(Decoder("shapes cannot be multiplied"))
