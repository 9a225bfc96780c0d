"""Tables for people, as they look on 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from polyrhythm.explanation import Candidate, Explanation, Prediction
from polyrhythm.facts import DeviceFacts, DeviceKind
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId
from polyrhythm.plan import Exchange, Plan
from polyrhythm_client.tables import agents_table, print_explanation
from tests.fake_model import FACTS
from tests.fake_worker import register
from tests.plans import plan, segment

CARD = replace(
    register(AgentId("local-0")).device, kind=DeviceKind.CUDA, name="NVIDIA GeForce RTX 4090", emulated_speed=None
)
CORE = replace(
    CARD, kind=DeviceKind.CPU, name="A Processor of Some Maker With a Very Long Name @ 2.70GHz", emulated_speed=0.5
)


def view(agent: str, device: DeviceFacts) -> AgentView:
    models = (replace(FACTS, model="demo", dtype="bfloat16"),)
    return AgentView(agent=AgentId(agent), state=AgentState.DRAINING, device=device, models=models, software=())


def lines_of(agents: tuple[AgentView, ...]) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80).print(agents_table(agents))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("second", [CORE, replace(CORE, memory_limit_bytes=300 << 20)])
def test_each_agent_is_one_line_of_80_columns(second: DeviceFacts) -> None:
    lines = lines_of((view("local-0", CARD), view("local-1", second)))
    assert max(map(len, lines)) <= 80
    for agent in ("local-0", "local-1"):
        (line,) = [line for line in lines if line.split()[:1] == [agent]]
        assert line.rstrip().endswith("demo bfloat16")
    assert sum("emulated 0.5" in line for line in lines) == 1


def test_cards_are_named_in_full() -> None:
    lines = lines_of((view("local-0", CARD), view("local-1", CARD)))
    assert sum("cuda: NVIDIA GeForce RTX 4090" in line for line in lines) == 2
    assert not any("speed" in line for line in lines)


def explained(chosen: Plan) -> str:
    prediction = Prediction(encode_s=0.1, denoise_s=1.0, decode_s=0.1, agents=())
    candidate = Candidate(label="plan", plan=chosen, prediction=prediction)
    explanation = Explanation(chosen=candidate, runners_up=(), exclusions=(), profiles=(), links=())
    out = io.StringIO()
    print_explanation(Console(file=out, width=80), explanation, ())
    return out.getvalue()


def test_a_device_alone_exchanges_nothing() -> None:
    alone = explained(plan(segment(0, 4, (8,)), segment(4, 8, (8,), exchange=Exchange.DISPLACED, strides=(2,))))
    assert alone.count("alone") == 2
    assert "displaced" not in alone
    together = explained(plan(segment(0, 4, (4, 4)), segment(4, 8, (8, 0), exchange=Exchange.DISPLACED)))
    assert (together.count("synchronous"), together.count("alone")) == (1, 1)
