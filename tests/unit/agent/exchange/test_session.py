"""One epoch's exchange: what it refuses, how it ends, and that a transport can serve the next epoch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.plan import Assignment, Beat, Exchange, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_agent.errors import EpochAbortedError, EpochCancelledError, TransportError
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork, InProcessTransport
from tests.tiny_models.layers import convolutional_layers, geometry, token_layers
from tests.worlds.members import run_members

AGENTS = (AgentId("ash"), AgentId("birch"))
GEOMETRY = geometry(4, token_layers(2, columns=3, features=5, batch=1), height=7, width=2)
FIRST, SECOND = GEOMETRY.layers
OWN_KBND = torch.ones(2, 1, 6, 5)


def segment(begin: int, end: int, exchange: Exchange, counts: tuple[int, int] = (2, 2)) -> Segment:
    assignments = tuple(Assignment(agent=a, rows=r) for a, r in zip(AGENTS, ranges_from_counts(counts), strict=True))
    return Segment(begin_step=begin, end_step=end, beat_steps=1, exchange=exchange, assignments=assignments)


BEATS: tuple[Beat, ...] = tuple(segment(0, 3, Exchange.SYNCHRONOUS).beats())


def open_exchange(transport: InProcessTransport, dtype: torch.dtype = torch.float32) -> GangExchange:
    return GangExchange(
        transport=transport,
        members=AGENTS[: transport.size],
        geometry=GEOMETRY,
        device=torch.device("cpu"),
        activation_dtype=dtype,
        state_dtype=torch.float32,
    )


def run_beat(exchange: GangExchange, previous: Beat | None, beat: Beat, following: Beat | None) -> Tensor:
    """One beat of one synchronous step; returns what the last layer saw."""
    exchange.begin_beat(previous, beat, following)
    seen_KBND = OWN_KBND
    with exchange.step(beat.begin_step) as step:
        for layer in GEOMETRY.layers:
            seen_KBND = step.gather(layer, OWN_KBND)
    x_BCHW = torch.zeros(1, 1, 7, 2)
    exchange.gather_boundary((x_BCHW, x_BCHW.clone()))
    exchange.agree((beat.end_step,))
    return seen_KBND


def run_until_cancelled(transport: InProcessTransport) -> None:
    with open_exchange(transport) as exchange:
        run_beat(exchange, None, BEATS[0], BEATS[1])
        raise EpochCancelledError("agreed")


def test_a_transport_serves_one_epoch_after_another_even_after_a_cancel() -> None:
    network = InProcessNetwork(2)

    def member(rank: int) -> int:
        transport = network.transport(rank)
        with pytest.raises(EpochCancelledError, match="agreed"):
            run_until_cancelled(transport)
        with open_exchange(transport) as exchange:
            run_beat(exchange, None, BEATS[0], BEATS[1])
            run_beat(exchange, BEATS[0], BEATS[1], BEATS[2])
        return exchange.held_entries

    assert run_members(2, member) == [0, 0]
    assert network.pending() == {}


def test_keys_and_values_travel_in_the_gangs_type_and_are_read_in_the_own() -> None:
    network = InProcessNetwork(2)

    def member(rank: int) -> Tensor:
        with open_exchange(network.transport(rank), torch.bfloat16) as exchange:
            exchange.begin_beat(None, BEATS[0], None)
            with exchange.step(0) as step:
                gathered = [step.gather(layer, OWN_KBND * (1 + 2**-20)) for layer in GEOMETRY.layers]
            exchange.gather_boundary((torch.zeros(1, 1, 7, 2),))
            return gathered[-1]

    first_KBND, second_KBND = run_members(2, member)
    assert first_KBND.dtype == second_KBND.dtype == torch.float32
    assert torch.equal(first_KBND[:, :, :6], OWN_KBND * (1 + 2**-20))
    assert torch.equal(first_KBND[:, :, 6:], OWN_KBND)


def test_the_root_may_change_its_tensors_after_a_broadcast() -> None:
    network = InProcessNetwork(2, delay_s=lambda _pair, _index: 0.02)

    def member(rank: int) -> list[float]:
        with open_exchange(network.transport(rank)) as exchange:
            tensors = {"b": torch.full((2,), float(rank)), "a": torch.full((3, 2), 10.0 + rank).T}
            exchange.broadcast(1, tensors)
            found = [float(tensors[name].max()) for name in ("a", "b")]
            tensors["b"].fill_(-1.0)
            return found

    assert run_members(2, member) == [[11.0, 1.0], [11.0, 1.0]]


def test_a_gang_of_one_needs_nobody() -> None:
    solo = Segment(
        begin_step=0,
        end_step=2,
        beat_steps=1,
        exchange=Exchange.DISPLACED,
        assignments=(Assignment(agent=AGENTS[0], rows=ranges_from_counts([4])[0]),),
    )
    beats = list(solo.beats())
    own_KBND = torch.ones(2, 1, 12, 5)
    with open_exchange(InProcessNetwork(1).transport(0)) as exchange:
        exchange.broadcast(0, {"t": torch.ones(1)})
        for previous, beat, following in zip([None, *beats], beats, [*beats[1:], None], strict=False):
            exchange.begin_beat(previous, beat, following)
            with exchange.step(beat.begin_step) as step:
                assert all(step.gather(layer, own_KBND) is own_KBND for layer in GEOMETRY.layers)
            exchange.gather_boundary((torch.zeros(1, 1, 7, 2),))
            assert exchange.agree((3,)) == ((3,),)
    assert (exchange.sent_bytes, exchange.held_entries) == (0, 0)


def alone_at(step: int) -> Segment:
    rows = ranges_from_counts([4])[0]
    return Segment(
        begin_step=step,
        end_step=step + 1,
        beat_steps=1,
        exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AGENTS[0], rows=rows),),
    )


def test_a_whole_picture_is_exchanged_without_moments_and_one_of_patches_with_them() -> None:
    layers = convolutional_layers(columns=2)
    size = replace(GEOMETRY, layers=layers)
    (beat,) = alone_at(0).beats()

    def step_of(network: InProcessNetwork, members: tuple[AgentId, ...]) -> GangExchange:
        return GangExchange(
            transport=network.transport(0),
            members=members,
            geometry=size,
            device=torch.device("cpu"),
            activation_dtype=torch.float32,
            state_dtype=torch.float32,
        )

    with step_of(InProcessNetwork(1), AGENTS[:1]) as exchange:
        exchange.begin_beat(None, beat, None)
        with exchange.step(0) as step:
            assert step.whole
            for layer, spec in layers.items():
                rows = size.cell_slice(spec, beat.segment.assignments[0].rows).stop
                match spec.kind:
                    case LayerKind.HALO:
                        own_BCHW = torch.ones(spec.batch, spec.features, rows, spec.columns)
                        assert step.halo(layer, own_BCHW) == (None, None)
                    case LayerKind.TOKENS:
                        step.gather(layer, torch.ones(2, spec.batch, rows * spec.columns, spec.features))
                    case LayerKind.MOMENTS:
                        pass
    opened = step_of(InProcessNetwork(2), AGENTS)
    opened.begin_beat(None, BEATS[0], None)
    with pytest.raises(ValueError, match="0 of 5 layers"), opened.step(0) as step:
        assert not step.whole
    opened.abort("the test is over")


def wait_in_broadcast(exchange: GangExchange) -> None:
    exchange.broadcast(1, {"t": torch.ones(1)})


def wait_in_gather(exchange: GangExchange) -> None:
    exchange.begin_beat(None, BEATS[0], BEATS[1])
    with exchange.step(0) as step:
        step.gather(FIRST, OWN_KBND)


def wait_in_boundary(exchange: GangExchange) -> None:
    beats = tuple(segment(0, 2, Exchange.SYNCHRONOUS, (0, 4)).beats())
    exchange.begin_beat(None, beats[0], beats[1])
    exchange.gather_boundary((torch.zeros(1, 1, 7, 2),))


def wait_in_agree(exchange: GangExchange) -> None:
    exchange.agree((1, 2, 3))


def wait_in_close(exchange: GangExchange) -> None:
    exchange.broadcast(0, {"t": torch.ones(1)})
    exchange.close()


WAITS = [wait_in_broadcast, wait_in_gather, wait_in_boundary, wait_in_agree, wait_in_close]


@pytest.mark.parametrize("ending", ["abort", "transport", "peer"])
@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_ends_at_once(wait: Callable[[GangExchange], None], ending: str) -> None:
    network = InProcessNetwork(2)
    transports = [network.transport(rank) for rank in range(2)]
    exchange = open_exchange(transports[0])
    ended: list[tuple[PolyrhythmError, float]] = []

    def run() -> None:
        try:
            with exchange:
                wait(exchange)
        except (EpochAbortedError, TransportError) as error:
            ended.append((error, time.perf_counter()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    begin_s = time.perf_counter()
    match ending:
        case "abort":
            exchange.abort("the coordinator says so")
        case "transport":
            transports[0].abort()
        case _:
            transports[1].abort()
    thread.join(10)
    [(error, ended_s)] = ended
    assert ended_s - begin_s < 5.0
    if ending == "abort":
        assert isinstance(error, EpochAbortedError)
        assert str(error) == "the coordinator says so"
    else:
        assert isinstance(error, TransportError)
    with pytest.raises(TransportError):
        transports[0].send(1, OWN_KBND)  # never used again


def test_another_error_inside_ends_the_transport_too() -> None:
    network = InProcessNetwork(2)
    with pytest.raises(ZeroDivisionError), open_exchange(network.transport(0)):
        raise ZeroDivisionError
    with pytest.raises(TransportError, match="0 is gone"):
        network.transport(1).send(0, OWN_KBND)


@pytest.fixture
def exchange() -> Iterator[GangExchange]:
    """One of two members; the other one never comes."""
    opened = open_exchange(InProcessNetwork(2).transport(0))
    yield opened
    opened.abort("the test is over")


def test_beats_must_be_those_that_were_announced(exchange: GangExchange) -> None:
    with pytest.raises(ValueError, match="no beat"):
        exchange.gather_boundary((torch.zeros(1, 1, 7, 2),))
    exchange.begin_beat(None, BEATS[0], BEATS[1])
    with pytest.raises(ValueError, match="announced"):
        exchange.begin_beat(BEATS[0], BEATS[2], None)
    with pytest.raises(ValueError, match="announced"):
        exchange.begin_beat(None, BEATS[1], None)


def test_steps_and_layers_must_be_those_of_the_plan(exchange: GangExchange) -> None:
    exchange.begin_beat(None, BEATS[0], BEATS[1])
    with pytest.raises(ValueError, match="not an active step"), exchange.step(1):
        pass
    with pytest.raises(ValueError, match="0 of 2 layers"), exchange.step(0):
        pass
    with pytest.raises(ValueError, match=r"layer blocks\.1"), exchange.step(0) as step:
        step.gather(SECOND, OWN_KBND)
    with (
        pytest.raises(ValueError, match=r"layer blocks\.0 \(tokens\) of shape \(2, 1, 6, 5\) was"),
        exchange.step(0) as step,
    ):
        step.gather(FIRST, OWN_KBND[:, :, :3])


def test_members_and_transport_must_agree() -> None:
    with pytest.raises(ValueError, match="2 members"):
        GangExchange(
            transport=InProcessNetwork(3).transport(0),
            members=AGENTS,
            geometry=GEOMETRY,
            device=torch.device("cpu"),
            activation_dtype=torch.float32,
            state_dtype=torch.float32,
        )
