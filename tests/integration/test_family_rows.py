"""Patches of rows that see the whole picture's keys and values are the whole picture, cut.

For families that exchange nothing else; tests/unit/agent/denoiser/test_convolution has the layers of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.plan.rows import RowRange, ranges_from_counts
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.ports.blocks import EMBED, HEAD
from polyrhythm_agent.ports.denoiser import DenoiserRun
from tests.oracles.reference import relative_difference
from tests.tiny_models.families import FAMILIES

TOLERANCE = 1e-11
STEP = 7


@pytest.fixture(
    scope="module",
    params=[(name, rows) for name, family in FAMILIES.items() if family.tokens_only for rows in (16, 24)],
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
        self.seen_KBND: dict[LayerId, Tensor] = {}

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        assert layer not in self.seen_KBND
        self.seen_KBND[layer] = own_KBND
        return own_KBND


class Remembered(SoloExchange):
    """Other rows as a recorder saw them, in one layer with keys for values; own rows as they come."""

    def __init__(self, recorder: Recorder, begin: int, *, swapped_layer: LayerId | None = None) -> None:
        self._recorder = recorder
        self._begin = begin
        self._swapped_layer = swapped_layer

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
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
    whole_BCHW = run.predict(x_BCHW, STEP, whole(run), recorder, NoObserver())
    parts = []
    for rows in ranges_from_counts(counts):
        exchange = Remembered(recorder, rows.begin * next(iter(run.geometry.layers.values())).columns)
        own_BCHW = x_BCHW[:, :, run.geometry.latent_slice(rows)]
        parts.append(run.predict(own_BCHW, STEP, rows, exchange, NoObserver()))
    assert relative_difference(torch.cat(parts, dim=2), whole_BCHW) <= TOLERANCE


def test_position_counts(run: DenoiserRun) -> None:
    x_BCHW = run.initial_noise()[:, :, :8]
    upper = run.predict(x_BCHW, STEP, RowRange(begin=0, end=4), SoloExchange(), NoObserver())
    lower = run.predict(x_BCHW, STEP, RowRange(begin=4, end=8), SoloExchange(), NoObserver())
    assert relative_difference(upper, lower) > 1e-3


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_layer_reads_the_exchange(run: DenoiserRun, index: int) -> None:
    layer = list(run.geometry.layers)[index]
    x_BCHW, recorder = run.initial_noise(), Recorder()
    whole_BCHW = run.predict(x_BCHW, STEP, whole(run), recorder, NoObserver())
    swapped = Remembered(recorder, 0, swapped_layer=layer)
    # Later layers compare their own rows with the recorded ones, so only the last one may differ unnoticed.
    if index < len(run.geometry.layers) - 1:
        with pytest.raises(AssertionError):
            run.predict(x_BCHW[:, :, :8], STEP, RowRange(begin=0, end=4), swapped, NoObserver())
    else:
        part_BCHW = run.predict(x_BCHW[:, :, :8], STEP, RowRange(begin=0, end=4), swapped, NoObserver())
        assert relative_difference(part_BCHW, whole_BCHW[:, :, :8]) > 1e-3


def test_keys_and_values_have_the_promised_shape(run: DenoiserRun) -> None:
    size, recorder = run.geometry, Recorder()
    run.predict(run.initial_noise()[:, :, :6], STEP, RowRange(begin=2, end=5), recorder, NoObserver())
    assert list(recorder.seen_KBND) == list(size.layers)
    for layer, own_KBND in recorder.seen_KBND.items():
        sizes = size.layers[layer]
        assert own_KBND.shape == (2, size.batch, 3 * sizes.columns, sizes.features)
        assert own_KBND.is_contiguous()


class Watcher:
    """Notes every block, and that none begins before the one before has ended."""

    def __init__(self) -> None:
        self.blocks: list[LayerId] = []
        self._running: LayerId | None = None

    def begin_block(self, block: LayerId) -> None:
        assert self._running is None
        self._running = block
        self.blocks.append(block)

    def end_block(self, block: LayerId) -> None:
        assert self._running == block
        self._running = None


def test_the_observer_sees_every_block(run: DenoiserRun) -> None:
    observer = Watcher()
    run.predict(run.initial_noise(), STEP, whole(run), SoloExchange(), observer)
    assert observer.blocks == [EMBED, *(f"transformer_blocks.{index}" for index in range(3)), HEAD]
    assert [layer.rpartition(".")[0] for layer in run.geometry.layers] == observer.blocks[1:-1]
