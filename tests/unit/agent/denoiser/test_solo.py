"""A device on its own: its rows are the picture."""

from __future__ import annotations

import torch

from polyrhythm.ids import LayerId
from polyrhythm_agent.denoiser.layers.solo import SoloExchange


def test_solo_exchange_returns_what_it_was_given() -> None:
    own_KBND = torch.zeros(2, 1, 4, 8)
    assert SoloExchange().whole
    assert SoloExchange().gather(LayerId("attn"), own_KBND) is own_KBND
