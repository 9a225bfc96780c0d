"""Tables for people, as they look on 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId
from polyrhythm.model.calibration import IDENTICAL_PSNR_DB
from polyrhythm.model.facts import DeviceFacts, DeviceKind
from polyrhythm.plan.explanation import Candidate, Explanation, Prediction
from polyrhythm.plan.plan import Exchange, Plan, Segment
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm_client.cli.tables import agents_table, print_explanation, print_troubles
from tests.fakes.model import FACTS
from tests.fakes.worker import register
from tests.values.plans import plan, segment

CARD = replace(
    register(AgentId("local-0")).device, kind=DeviceKind.CUDA, name="NVIDIA GeForce RTX 4090", emulated_speed=None
)
CORE = replace(
    CARD, kind=DeviceKind.CPU, name="A Processor of Some Maker With a Very Long Name @ 2.70GHz", emulated_speed=0.5
)


def view(agent: str, device: DeviceFacts) -> AgentView:
    models = (replace(FACTS, name="demo", dtype="bfloat16"),)
    return AgentView(name=AgentId(agent), state=AgentState.DRAINING, device=device, models=models, software=())


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
    assert ["its own" in line for line in lines if "bfloat16" in line] == [True, False]
    assert ["emulated 0.5" in line for line in lines if "bfloat16" in line] == [False, True]


def test_cards_are_named_in_full() -> None:
    lines = lines_of((view("local-0", CARD), view("local-1", CARD)))
    assert sum("cuda: NVIDIA GeForce RTX 4090" in line for line in lines) == 2
    assert not any("speed" in line for line in lines)


def explained(
    chosen: Plan, *, psnr_db: float | None = None, psnr_low_db: float | None = None, agents: tuple[AgentView, ...] = ()
) -> str:
    prediction = Prediction(
        encode_s=0.1, denoise_s=1.0, decode_s=0.1, agents=(), psnr_db=psnr_db, psnr_low_db=psnr_low_db
    )
    candidate = Candidate(label="plan", plan=chosen, prediction=prediction)
    explanation = Explanation(
        chosen=candidate,
        runners_up=(),
        exclusions=(),
        profiles=(profile("agent-0", offloaded=True), profile("agent-1"), profile("elsewhere", offloaded=True)),
        links=(),
        sharing="a gang finishes all sooner",
    )
    out = io.StringIO()
    print_explanation(Console(file=out, width=80), explanation, agents)
    return out.getvalue()


def profile(agent: str, *, offloaded: bool = False) -> Profile:
    workload = Workload(model="demo", width_px=128, height_px=128, batch=2)
    return Profile(
        agent=AgentId(agent),
        workload=workload,
        fixed_s=0.1,
        per_row_s=0.1,
        encode_s=0.1,
        decode_s=0.1,
        samples=3,
        offloaded=offloaded,
    )


def said(table: str) -> str:
    """Its words, wherever lines and columns end."""
    return " ".join(table.replace("│", " ").split())


def test_a_device_alone_exchanges_nothing() -> None:
    alone = explained(plan(segment(0, 4, (8,)), segment(4, 8, (8,), exchange=Exchange.DISPLACED, strides=(2,))))
    assert alone.count("alone") == 2
    assert "displaced" not in alone
    together = explained(plan(segment(0, 4, (4, 4)), segment(4, 8, (8, 0), exchange=Exchange.DISPLACED)))
    assert (together.count("synchronous"), together.count("alone")) == (1, 1)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((segment(0, 4, (4, 4)), segment(4, 20, (4, 4))), "20 steps"),
        (
            (segment(0, 12, (4, 4)), segment(12, 20, (4, 4), exchange=Exchange.DISPLACED, strides=(1, 2))),
            "20 steps on fast rows and 16 on slow ones",
        ),
        (
            (
                segment(0, 12, (4, 4)),
                segment(12, 20, (4, 4), exchange=Exchange.DISPLACED, strides=(2, 4), beat_steps=4),
            ),
            "16 of 20 steps on fast rows and 14 on slow ones",
        ),
        (
            (segment(0, 12, (4, 4)), segment(12, 20, (8, 0), exchange=Exchange.DISPLACED, strides=(2, 2))),
            "16 of 20 steps",
        ),
    ],
)
def test_how_many_steps_rows_go_through_stands_under_the_plan(segments: tuple[Segment, ...], message: str) -> None:
    assert f" {message} encodes: agent-0; decodes: agent-1 " in said(explained(plan(*segments)))


def test_what_the_touchiest_pictures_come_to_stands_under_the_decibels() -> None:
    known = said(explained(plan(segment(0, 8, (4, 4))), psnr_db=38.6, psnr_low_db=33.25))
    assert " chosen 38.6 " in known
    assert "PSNR in dB: predicted mean, of the final latent against the one of a single device" in known
    assert "one picture in ten of the chosen plan: 33.2 dB or less" in known


@pytest.mark.parametrize(("psnr_db", "message"), [(None, "-"), (IDENTICAL_PSNR_DB, "same")])
def test_nothing_is_said_of_the_touchiest_pictures_where_none_differs_or_nothing_is_known(
    psnr_db: float | None, message: str
) -> None:
    table = said(explained(plan(segment(0, 8, (4, 4))), psnr_db=psnr_db, psnr_low_db=psnr_db))
    assert f" chosen {message} " in table
    assert "one picture in ten" not in table
    unknown = "quality not predicted: no calibration of the model says anything of such pictures"
    assert (unknown in table) is (psnr_db is None)


def test_how_pictures_are_shared_and_who_brings_its_weights_in_is_told() -> None:
    table = said(explained(plan(segment(0, 8, (4, 4)))))
    assert "sharing: a gang finishes all sooner" in table
    assert "offloaded: agent-0 brings its weights in block by block" in table
    assert "agent-1 brings" not in table
    assert "elsewhere brings" not in table, "it takes no part"


def test_that_speeds_are_emulated_is_told() -> None:
    message, chosen = "speeds are emulated: every figure above is of emulated devices", plan(segment(0, 8, (4, 4)))
    assert message in said(explained(chosen, agents=(view("agent-0", CARD), view("agent-1", CORE))))
    assert message not in said(explained(chosen, agents=(view("agent-0", CARD),)))


def test_how_the_last_worker_was_lost_stands_under_the_agents() -> None:
    out = io.StringIO()
    troubled = replace(view("local-1", CARD), trouble="the worker ended: signal SIGKILL")
    print_troubles(Console(file=out, width=20), (view("local-0", CARD), troubled))
    assert out.getvalue() == "local-1: the worker ended: signal SIGKILL\n"
