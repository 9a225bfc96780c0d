"""Convolutions and normalisations of patches against those of the whole feature map."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from polyrhythm.ids import LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.rows import RowRange, ranges_from_counts
from polyrhythm_agent.denoiser.layers.convolution import (
    FirstPatchConv2d,
    PatchConv2d,
    PatchGroupNorm,
    PatchSlot,
    PatchStep,
    corrected_moments,
    merged_moments,
    moments,
)
from polyrhythm_agent.denoiser.layers.solo import SoloExchange
from polyrhythm_agent.denoiser.operators.layers import OperatorConv2d
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry, Part
from tests.tiny_models.layers import geometry

LAYER = LayerId("layer")
UNIT = 4
WIDTH = 5
CHANNELS = 4
GROUPS = 2
STEP = 3


def map_of(height: int, layer: ExchangedLayer) -> Geometry:
    rows = -(-height // UNIT)
    return geometry(rows, {LAYER: layer}, unit=UNIT, channels=CHANNELS, height=height, width=WIDTH, batch=2)


NORM_LAYER = ExchangedLayer(kind=LayerKind.MOMENTS, shrink=1, columns=WIDTH, features=GROUPS, batch=2, precise=True)
CONV_LAYER = ExchangedLayer(
    kind=LayerKind.HALO, shrink=1, columns=WIDTH, features=CHANNELS, batch=2, rows_above=1, rows_below=1
)


class WholeMap(SoloExchange):
    """Others' rows cut from a feature map; moments as they are handed in."""

    whole = False

    def __init__(self, map_BCHW: Tensor, rows: slice, *, step: int = STEP, parts: tuple[Part, ...] = ()) -> None:
        self._map_BCHW = map_BCHW
        self._rows = rows
        self._step = step
        self._parts = parts

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        above, below = self._rows.start - 1, self._rows.stop
        rims = [
            Part(rows=RowRange(begin=0, end=1), step=self._step, tensor=self._map_BCHW[:, :, row : row + 1])
            if 0 <= row < self._map_BCHW.shape[2]
            else None
            for row in (above, below)
        ]
        return rims[0], rims[1]

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        return self._parts


def step_of(size: Geometry, rows: RowRange, exchange: SoloExchange, states_BCHW: Tensor | None = None) -> PatchStep:
    return PatchStep(
        geometry=size,
        rows=rows,
        step=STEP,
        exchange=exchange,
        states_BCHW=torch.zeros(1) if states_BCHW is None else states_BCHW,
        carry=lambda states_BCHW, step: states_BCHW[:, :CHANNELS] * (1 + STEP - step),
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [16, 13, 9])
def test_a_convolution_over_patches_is_that_of_the_whole_map(stride: int, height: int) -> None:
    torch.manual_seed(stride + height)
    conv = nn.Conv2d(CHANNELS, 3, 3, stride=stride, padding=1).double()
    map_BCHW = torch.randn(2, CHANNELS, height, WIDTH, dtype=torch.float64)
    slot = PatchSlot()
    patch_conv = PatchConv2d(LAYER, OperatorConv2d(conv, F.conv2d), slot)
    size = map_of(height, CONV_LAYER)
    parts: list[Tensor] = []
    for rows in ranges_from_counts([1, size.row_count - 2, 1]):
        cells = size.latent_slice(rows)
        exchange = WholeMap(map_BCHW, cells)
        if not patch_conv.rows_below:  # a real exchange sends none where none are needed
            exchange = WholeMap(map_BCHW[:, :, : cells.stop], cells)
        slot.enter(step_of(size, rows, exchange))
        parts.append(patch_conv(map_BCHW[:, :, cells]))
    torch.testing.assert_close(torch.cat(parts, dim=2), conv(map_BCHW), rtol=1e-12, atol=1e-12)
    assert (patch_conv.rows_above, patch_conv.rows_below) == (1, 2 - stride)


def test_the_rim_of_the_latent_is_carried_to_the_own_step() -> None:
    conv = nn.Conv2d(CHANNELS, 3, 3, padding=1)
    slot = PatchSlot()
    first = FirstPatchConv2d(LAYER, OperatorConv2d(conv, F.conv2d), slot)
    latent_BCHW, x0_BCHW = torch.randn(1, CHANNELS, 8, WIDTH), torch.zeros(1, CHANNELS, 8, WIDTH)
    size = map_of(8, CONV_LAYER)
    states_BCHW = torch.cat((latent_BCHW, x0_BCHW), dim=1)
    exchange = WholeMap(states_BCHW, slice(4, 8), step=STEP - 1)
    slot.enter(step_of(size, RowRange(begin=1, end=2), exchange, states_BCHW[:, :, 4:]))
    seen_BCHW = first(latent_BCHW[:, :, 4:].expand(2, -1, -1, -1))
    carried_BCHW = latent_BCHW.clone()
    carried_BCHW[:, :, :4] *= 2  # what ``carry`` does over one step here
    torch.testing.assert_close(seen_BCHW, conv(carried_BCHW)[:, :, 4:].expand(2, -1, -1, -1))


def maps(height: int, *, mean: float = 0.0) -> Tensor:
    return torch.randn(2, CHANNELS, height, WIDTH, dtype=torch.float64) + mean


def parts_of(map_BCHW: Tensor, size: Geometry, counts: list[int], *, step: int = STEP) -> tuple[Part, ...]:
    return tuple(
        Part(rows=rows, step=step, tensor=moments(map_BCHW[:, :, size.latent_slice(rows)], GROUPS))
        for rows in ranges_from_counts(counts)
    )


@given(seed=st.integers(0, 1000), height=st.integers(9, 16), mean=st.sampled_from([0.0, 10.0, 1e3]))
def test_merged_moments_are_those_of_the_whole_map(seed: int, height: int, mean: float) -> None:
    torch.manual_seed(seed)
    map_BCHW = maps(height, mean=mean)
    size = map_of(height, NORM_LAYER)
    parts = parts_of(map_BCHW, size, [1, size.row_count - 2, 1])
    mean_BG, variance_BG = merged_moments(parts, NORM_LAYER, size)
    whole_mean_BG, whole_variance_BG = moments(map_BCHW, GROUPS)
    torch.testing.assert_close(mean_BG, whole_mean_BG, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(variance_BG, whole_variance_BG, rtol=1e-10, atol=1e-12)


def test_a_mean_far_above_the_spread_costs_no_digits() -> None:
    torch.manual_seed(0)
    map_BCHW = maps(8, mean=100.0)
    narrow = moments(map_BCHW.float(), GROUPS)[1].double()
    torch.testing.assert_close(narrow, moments(map_BCHW, GROUPS)[1], rtol=1e-4, atol=0)


def test_a_synchronous_normalisation_is_that_of_the_whole_map() -> None:
    torch.manual_seed(1)
    norm = nn.GroupNorm(GROUPS, CHANNELS).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    map_BCHW, slot = maps(13), PatchSlot()
    patch_norm = PatchGroupNorm(LAYER, norm, slot)
    size = map_of(13, NORM_LAYER)
    whole_BCHW = norm(map_BCHW)
    parts = parts_of(map_BCHW, size, [1, 2, 1])
    for own in parts:
        cells = size.latent_slice(own.rows)
        others = tuple(part for part in parts if part is not own)
        slot.enter(step_of(size, own.rows, WholeMap(map_BCHW, cells, parts=others)))
        torch.testing.assert_close(patch_norm(map_BCHW[:, :, cells]), whole_BCHW[:, :, cells], rtol=1e-9, atol=1e-9)


def test_a_whole_picture_is_normalised_without_moments() -> None:
    """They would take a few per cent of a forward, and nobody reads them."""
    torch.manual_seed(2)

    class Whole(SoloExchange):
        def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
            raise AssertionError("moments of a whole picture")

    norm, map_BCHW, slot = nn.GroupNorm(GROUPS, CHANNELS), maps(16).float(), PatchSlot()
    size = map_of(16, NORM_LAYER)
    slot.enter(step_of(size, RowRange(begin=0, end=size.row_count), Whole()))
    assert torch.equal(PatchGroupNorm(LAYER, norm, slot)(map_BCHW), norm(map_BCHW))


def test_a_displaced_normalisation_moves_with_the_own_rows() -> None:
    """m = sum of shares of old moments, moved by the own change; E[x^2] likewise, in plain numbers."""
    size = map_of(12, NORM_LAYER)
    old = torch.tensor([[[1.0], [2.0]], [[4.0], [1.0]]], dtype=torch.float64)  # part, (mean, variance)
    rows = ranges_from_counts([1, 2])
    parts = tuple(
        Part(rows=rows[index], step=STEP - 1, tensor=old[index].reshape(2, 1, 1).expand(2, 2, GROUPS))
        for index in range(2)
    )
    own_MBG = torch.tensor([1.5, 2.5], dtype=torch.float64).reshape(2, 1, 1).expand(2, 2, GROUPS)
    mean_BG, variance_BG = corrected_moments(own_MBG, rows[0], parts, NORM_LAYER, size)
    old_mean, old_square = 1 / 3 * 1 + 2 / 3 * 4, 1 / 3 * (2 + 1) + 2 / 3 * (1 + 16)
    mean, square = old_mean + 1.5 - 1, old_square + (2.5 + 1.5**2) - (2 + 1)
    assert mean_BG[0, 0] == pytest.approx(mean)
    assert variance_BG[0, 0] == pytest.approx(square - mean**2)


@pytest.mark.parametrize("before_variance", [9.0, 0.74], ids=["below zero", "hardly any"])
def test_a_corrected_variance_keeps_half_of_that_of_the_newest_moments(before_variance: float) -> None:
    """The rows of two parts; the own ones have lost more variance than the picture has, or nearly all of it."""
    size = map_of(8, NORM_LAYER)
    rows = ranges_from_counts([1, 1])
    stale, before, own_MBG = (
        torch.tensor([mean, variance], dtype=torch.float64).reshape(2, 1, 1).expand(2, 2, GROUPS)
        for mean, variance in ((0.0, 0.01), (0.0, before_variance), (0.2, 0.3))
    )
    parts = (Part(rows=rows[0], step=STEP - 1, tensor=before), Part(rows=rows[1], step=STEP - 1, tensor=stale))
    mean_BG, variance_BG = corrected_moments(own_MBG, rows[0], parts, NORM_LAYER, size)
    corrected = 0.5 * (before_variance + 0.01) + 0.3 + 0.2**2 - before_variance - 0.2**2
    newest = 0.5 * (0.3 + 0.2**2 + 0.01) - 0.1**2
    assert corrected < 0.5 * newest
    assert mean_BG[0, 0] == pytest.approx(0.2)
    assert variance_BG[0, 0] == pytest.approx(0.5 * newest)
    assert math.isfinite(float(torch.rsqrt(variance_BG).sum()))
