"""The same plan and seed give the same bytes, whatever is late: messages, steps or members."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.epoch.png import encode_png
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous
from polyrhythm_agent.exchange.transports.torch_distributed import form_gloo_transport
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.transport import Receipt, Transport
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import GangOptions, load_members, run_gang

RUNS = 10
DELAY_MAX_S = 0.01
"""The longest that anything is late: several blocks of the tiny model."""
STEPS = 8
FOLLOWED = plan(
    segment(0, 2, (7, 5, 4), beat_steps=1),
    segment(2, 6, (5, 6, 5), exchange=Exchange.DISPLACED, strides=(1, 2, 2), beat_steps=2),
    segment(6, 8, (8, 4, 4), exchange=Exchange.DISPLACED),
)
SPEC = ImageSpec(
    model="tiny",
    prompt="a red apple",
    width_px=128,
    height_px=128,
    steps=STEPS,
    seed=11,
    guidance=5.0,
    sampler=Sampler.DPM_SOLVER_PP_2M,
    quality=Quality.BALANCED,
)


class LateBlocks:
    """An observer that delays blocks at random; the delay is what is tested, so it sleeps."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def begin_block(self, block: LayerId) -> None:
        time.sleep(self._random.uniform(0, DELAY_MAX_S / 4))

    def end_block(self, block: LayerId) -> None:
        pass


class LateMessages:
    """A transport whose messages reach their reader later, each by a time of its own."""

    def __init__(self, transport: Transport, run: int) -> None:
        self._transport = transport
        self._run = run
        self._received: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def post_receive(self, source: int, buffer: Tensor) -> LateReceipt:
        self._received[source] += 1
        pair = (source, self._transport.rank)
        return LateReceipt(
            self._transport.post_receive(source, buffer), delay_s(self._run, pair, self._received[source])
        )


@dataclass(frozen=True, slots=True)
class LateReceipt:
    receipt: Receipt
    delay_s: float

    def wait(self) -> Tensor:
        message = self.receipt.wait()
        time.sleep(self.delay_s)
        return message


def delay_s(run: int, pair: tuple[int, int], index: int) -> float:
    return random.Random(f"{run} {pair} {index}").uniform(0, DELAY_MAX_S)


@pytest.fixture(scope="module")
def denoisers(folders: Mapping[str, Path]) -> dict[AgentId, Denoiser]:
    return load_members(folders["pixart"], agent_ids(3), torch.float32)


def in_process(run: int) -> tuple[Transport, ...]:
    network = InProcessNetwork(3, delay_s=partial(delay_s, run))
    return tuple(network.transport(rank) for rank in range(3))


def over_gloo(run: int) -> tuple[Transport, ...]:
    rendezvous = InProcessRendezvous()
    formed: dict[int, Transport] = {}

    def form(rank: int) -> None:
        formed[rank] = form_gloo_transport(rank=rank, size=3, rendezvous=rendezvous, bind_address="127.0.0.1")

    threads = [threading.Thread(target=form, args=(rank,)) for rank in random.Random(run).sample(range(3), 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return tuple(cast("Transport", LateMessages(formed[rank], run)) for rank in range(3))


@pytest.mark.parametrize("transports", [in_process, over_gloo])
def test_ten_runs_give_the_same_bytes(denoisers: dict[AgentId, Denoiser], transports) -> None:  # noqa: ANN001
    pictures: set[bytes] = set()
    decoder = denoisers[FOLLOWED.decoder]
    for run in range(RUNS):
        options = GangOptions(
            transports=transports(run),
            observer=lambda agent, run=run: LateBlocks(f"{agent} {run}"),
            start_order_seed=run,
        )
        runs = run_gang(FOLLOWED, denoisers, SPEC, options)
        with torch.inference_mode():
            pictures.add(encode_png(decoder.decode(runs[FOLLOWED.decoder].states[STEPS].x_BCHW)))
        for transport in options.transports or ():
            transport.abort()
    assert len(pictures) == 1


def test_another_seed_gives_other_bytes(denoisers: dict[AgentId, Denoiser]) -> None:
    first, second = (
        run_gang(FOLLOWED, denoisers, SPEC.with_seed(seed))[FOLLOWED.decoder].states[STEPS].x_BCHW for seed in (1, 2)
    )
    assert not torch.equal(first, second)
