"""Negative control of `exact`: dropping any one exchange is seen far above the tolerance, so equality means much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.epoch.step_loop import Exchange
from polyrhythm_agent.ports.layers import ExchangedLayer, Part
from tests.tiny_models.families import FAMILIES, HALVES, choice_id
from tests.values.plans import agent_ids, exact_plan
from tests.worlds.gang import GangOptions, kept_members, run_gang
from tests.worlds.tapped_exchange import TappedExchange

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
MARGIN = 100
STEPS = {True: 8, False: 4}
COUNTS = {True: (7, 4, 5), False: (9, 7)}
"""Of families that exchange nothing but tokens, and of UNets, which have many more layers to lose."""


LOSSES = [(name, *half) for name, family in FAMILIES.items() for half in HALVES[not family.tokens_only :]]
"""One lost rim of a UNet is too little for the tolerance of fp32."""


class LossyExchange(TappedExchange):
    """Loses what one peer says in one layer of one step."""

    def __init__(self, inner: Exchange, *, step: int, layer: LayerId, rows: RowRange, tokens: slice) -> None:
        super().__init__(inner, step=step, layer=layer)
        self._rows = rows
        self._tokens = tokens

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        all_KBND = super().gather(layer, own_KBND)
        if self.is_tapped(layer):
            all_KBND = all_KBND.clone()
            all_KBND[:, :, self._tokens] = 0.0
        return all_KBND

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        above, below = super().halo(layer, own_BCHW)
        return self._rim(layer, above), self._rim(layer, below)

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        parts = super().collect(layer, own_MBG)
        return tuple(part for part in parts if not (self.is_tapped(layer) and part.rows == self._rows))

    def _rim(self, layer: LayerId, part: Part | None) -> Part | None:
        if part is None or not self.is_tapped(layer) or part.rows != self._rows:
            return part
        return replace(part, tensor=torch.zeros_like(part.tensor))


def layers_to_tap(layers: Mapping[LayerId, ExchangedLayer]) -> list[LayerId]:
    """All of a transformer; of a UNet one of each kind at each level, but for convolutions that need nothing below."""
    if all(sizes.kind is LayerKind.TOKENS for sizes in layers.values()):
        return list(layers)
    kinds: dict[tuple[LayerKind, int], LayerId] = {}
    for layer, sizes in layers.items():
        if sizes.kind is not LayerKind.HALO or sizes.rows_below:
            kinds.setdefault((sizes.kind, sizes.shrink), layer)
    return list(kinds.values())


@pytest.mark.parametrize(("family", "dtype", "sampler"), LOSSES, ids=choice_id)
def test_dropping_any_one_exchange_is_seen(folder: Path, family: str, dtype: torch.dtype, sampler: Sampler) -> None:
    """Every layer and every step, though not each with each; what is lost is of the peer below, or of the topmost."""
    tokens_only = FAMILIES[family].tokens_only
    steps, counts = STEPS[tokens_only], COUNTS[tokens_only]
    spec = FAMILIES[family].image(sampler=sampler, steps=steps)
    agents = agent_ids(len(counts))
    followed = exact_plan(steps, counts, beat_steps=5)
    denoisers = kept_members(folder, agents, dtype)
    reference_BCHW = run_gang(followed, denoisers, spec)[agents[0]].states[steps].x_BCHW
    limit = MARGIN * TOLERANCES[dtype] * max(1.0, float(reference_BCHW.abs().max()))
    geometry = denoisers[agents[0]].geometry(spec)
    # DDIM's last update weighs the prediction by about 0.01: a loss there is 0.3 to 0.9 of this margin in fp32.
    lossy_steps = (0, 1, steps // 2, steps - 2 if dtype is torch.float32 else steps - 1)
    layers = layers_to_tap(geometry.layers)
    unseen: list[tuple[int, LayerId, str, float]] = []
    for number in range(max(len(layers), len(lossy_steps))):
        layer, step = layers[number % len(layers)], lossy_steps[number % len(lossy_steps)]
        sizes = geometry.layers[layer]
        reader = number % (len(counts) - (sizes.kind is not LayerKind.TOKENS))
        rows = followed.segments[0].of(agents[(reader + 1) % len(counts)]).rows
        cells = geometry.cell_slice(sizes, rows)
        tokens = slice(cells.start * sizes.columns, cells.stop * sizes.columns)

        def wrap(agent: AgentId, exchange: Exchange, lossy: partial[LossyExchange], reads: AgentId) -> Exchange:
            return lossy(exchange) if agent == reads else exchange  # pyright: ignore[reportReturnType]

        lossy = partial(LossyExchange, step=step, layer=layer, rows=rows, tokens=tokens)
        options = GangOptions(wrap=partial(wrap, lossy=lossy, reads=agents[reader]))
        runs = run_gang(followed, denoisers, spec, options)
        difference = max(float((run.states[steps].x_BCHW - reference_BCHW).abs().max()) for run in runs.values())
        if difference <= limit:
            unseen.append((step, layer, agents[reader], difference / limit))
    assert not unseen
