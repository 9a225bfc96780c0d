"""Negative control of `exact`: dropping any one exchange is seen far above the tolerance, so equality means much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.epoch.step_loop import Exchange
from tests.tiny_models.families import FAMILIES, HALVES
from tests.values.plans import agent_ids, exact_plan
from tests.worlds.gang import GangOptions, kept_members, run_gang
from tests.worlds.tapped_exchange import TappedExchange

STEPS = 8
LAYERS = 3
MEMBERS = 3
COUNTS = (7, 4, 5)
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
MARGIN = 100
DROPPED_STEPS = {torch.float32: (0, 1, STEPS // 2, STEPS - 2), torch.float64: (0, 1, STEPS // 2, STEPS - 1)}
"""DDIM's last update weighs the prediction by about 0.01, so a loss there is 0.3 to 0.9 of this margin in fp32."""


class DropOneExchange(TappedExchange):
    """Loses one peer's keys and values in one layer of one step."""

    def __init__(self, inner: Exchange, *, step: int, layer: LayerId, tokens: slice) -> None:
        super().__init__(inner, step=step, layer=layer)
        self._tokens = tokens

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        all_KBND = super().gather(layer, own_KBND)
        if self.is_tapped(layer):
            all_KBND = all_KBND.clone()
            all_KBND[:, :, self._tokens] = 0.0
        return all_KBND


@pytest.mark.parametrize(("dtype", "sampler"), HALVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_any_one_exchange_is_seen(folder: Path, family: str, sampler: Sampler, dtype: torch.dtype) -> None:
    spec = FAMILIES[family].image(sampler=sampler, steps=STEPS)
    agents = agent_ids(MEMBERS)
    followed = exact_plan(STEPS, COUNTS, beat_steps=5)
    denoisers = kept_members(folder, agents, dtype)
    reference_BCHW = run_gang(followed, denoisers, spec)[agents[0]].states[STEPS].x_BCHW
    limit = MARGIN * TOLERANCES[dtype] * max(1.0, float(reference_BCHW.abs().max()))
    layers = denoisers[agents[0]].geometry(spec).layers
    assert len(layers) == LAYERS
    unseen: list[tuple[int, LayerId, str, str, float]] = []
    for step in DROPPED_STEPS[dtype]:
        for index, (layer, sizes) in enumerate(layers.items()):
            reader, source = agents[(step + index) % MEMBERS], agents[(step + index + 1) % MEMBERS]
            rows = followed.segments[0].of(source).rows
            tokens = slice(rows.begin * sizes.columns, rows.end * sizes.columns)

            def wrap(
                agent: AgentId,
                exchange: Exchange,
                *,
                reader: AgentId = reader,
                step: int = step,
                layer: LayerId = layer,
                tokens: slice = tokens,
            ) -> Exchange:
                if agent != reader:
                    return exchange
                return DropOneExchange(exchange, step=step, layer=layer, tokens=tokens)  # pyright: ignore[reportReturnType]

            runs = run_gang(followed, denoisers, spec, GangOptions(wrap=wrap))
            difference = float((runs[agents[0]].states[STEPS].x_BCHW - reference_BCHW).abs().max())
            if difference <= limit:
                unseen.append((step, layer, reader, source, difference / limit))
    assert not unseen
