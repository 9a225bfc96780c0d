"""Patches of rows that see the whole picture's keys and values are the whole picture, cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.plan.rows import RowRange, ranges_from_counts
from polyrhythm_agent.denoiser.layers.solo import OpenSeam, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.ports.denoiser import DenoiserRun
from tests.oracles.reference import relative_difference
from tests.tiny_models.families import FAMILIES

TOLERANCE = 1e-11
STEP = 7


@pytest.fixture(
    scope="module",
    params=[(name, rows) for name in FAMILIES for rows in (16, 24)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def run(request: pytest.FixtureRequest, folders: Mapping[str, Path]) -> DenoiserRun:
    name, rows = request.param
    denoiser = load_denoiser(folders[name], model="tiny", dtype=torch.float64)
    spec = FAMILIES[name].image(rows=rows, seed=3)
    return denoiser.start(spec, denoiser.encode(spec))


class Recorder(SoloExchange):
    """Holds all rows and remembers what it saw."""

    def __init__(self) -> None:
        self.seen_KBND: list[Tensor] = []

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        assert layer == len(self.seen_KBND)
        self.seen_KBND.append(own_KBND)
        return own_KBND


class Remembered(SoloExchange):
    """Other rows as a recorder saw them, in one layer with keys for values; own rows as they come."""

    def __init__(self, recorder: Recorder, begin: int, *, swapped_layer: int | None = None) -> None:
        self._recorder = recorder
        self._begin = begin
        self._swapped_layer = swapped_layer

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        recorded_KBND = self._recorder.seen_KBND[layer]
        own = slice(self._begin, self._begin + own_KBND.shape[2])
        torch.testing.assert_close(own_KBND, recorded_KBND[:, :, own], rtol=1e-10, atol=1e-10)
        all_KBND = recorded_KBND.roll(1, dims=0) if layer == self._swapped_layer else recorded_KBND.clone()
        all_KBND[:, :, own] = own_KBND
        return all_KBND


def whole(run: DenoiserRun) -> RowRange:
    return RowRange(begin=0, end=run.geometry.row_count)


@pytest.mark.parametrize("counts", [(8, -8), (1, -1), (5, 1, 3, -9)])
def test_patches_are_the_whole_picture(run: DenoiserRun, counts: tuple[int, ...]) -> None:
    row_count = run.geometry.row_count
    counts = (*counts[:-1], row_count - sum(counts[:-1]))
    x_BCHW, recorder = run.initial_noise(), Recorder()
    whole_BCHW = run.predict(x_BCHW, STEP, whole(run), recorder, OpenSeam())
    parts = []
    for rows in ranges_from_counts(counts):
        exchange = Remembered(recorder, rows.begin * run.geometry.layers[0].columns)
        own_BCHW = x_BCHW[:, :, run.geometry.latent_slice(rows)]
        parts.append(run.predict(own_BCHW, STEP, rows, exchange, OpenSeam()))
    assert relative_difference(torch.cat(parts, dim=2), whole_BCHW) <= TOLERANCE


def test_position_counts(run: DenoiserRun) -> None:
    x_BCHW = run.initial_noise()[:, :, :8]
    upper = run.predict(x_BCHW, STEP, RowRange(begin=0, end=4), SoloExchange(), OpenSeam())
    lower = run.predict(x_BCHW, STEP, RowRange(begin=4, end=8), SoloExchange(), OpenSeam())
    assert relative_difference(upper, lower) > 1e-3


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_every_layer_reads_the_exchange(run: DenoiserRun, layer: int) -> None:
    x_BCHW, recorder = run.initial_noise(), Recorder()
    whole_BCHW = run.predict(x_BCHW, STEP, whole(run), recorder, OpenSeam())
    swapped = Remembered(recorder, 0, swapped_layer=layer)
    # Later layers compare their own rows with the recorded ones, so only the last one may differ unnoticed.
    if layer < len(run.geometry.layers) - 1:
        with pytest.raises(AssertionError):
            run.predict(x_BCHW[:, :, :8], STEP, RowRange(begin=0, end=4), swapped, OpenSeam())
    else:
        part_BCHW = run.predict(x_BCHW[:, :, :8], STEP, RowRange(begin=0, end=4), swapped, OpenSeam())
        assert relative_difference(part_BCHW, whole_BCHW[:, :, :8]) > 1e-3


def test_keys_and_values_have_the_promised_shape(run: DenoiserRun) -> None:
    size, recorder = run.geometry, Recorder()
    run.predict(run.initial_noise()[:, :, :6], STEP, RowRange(begin=2, end=5), recorder, OpenSeam())
    assert len(recorder.seen_KBND) == len(size.layers)
    for layer, own_KBND in zip(size.layers, recorder.seen_KBND, strict=True):
        assert own_KBND.shape == (2, size.batch, 3 * layer.columns, layer.features)
        assert own_KBND.is_contiguous()


class Replacement:
    """Notes every layer and replaces what one of them returned."""

    def __init__(self, replaced: str = "") -> None:
        self.names: list[str] = []
        self._replaced = replaced

    def begin_layer(self, layer: str) -> None:
        self.names.append(layer)

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        assert self.names[-1] == layer
        return torch.zeros_like(output) if layer == self._replaced else output


def test_the_seam_sees_every_layer_and_may_replace_its_output(run: DenoiserRun) -> None:
    x_BCHW, seam = run.initial_noise(), Replacement()
    plain_BCHW = run.predict(x_BCHW, STEP, whole(run), SoloExchange(), seam)
    assert seam.names == ["embed", "block.0", "block.1", "block.2", "head"]
    for name in seam.names:
        replaced_BCHW = run.predict(x_BCHW, STEP, whole(run), SoloExchange(), Replacement(name))
        assert not torch.equal(replaced_BCHW, plain_BCHW), name
    assert torch.equal(replaced_BCHW, torch.zeros_like(plain_BCHW))
