"""A measurement that nobody waits for any more ends within a block, and is answered as failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from polyrhythm.ids import LayerId
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm.session.commands import MeasureProfile, StopMeasuring
from polyrhythm.session.events import AgentEvent, RequestFailed
from polyrhythm_agent.denoiser.layers.solo import NoObserver
from polyrhythm_agent.measuring.stop import MeasuringStop, StoppableObserver
from polyrhythm_agent.worker.command_loop import CommandLoop

BLOCK = LayerId("transformer_blocks.0")
COMMAND = MeasureProfile(request_id=7, workload=Workload(model="demo", width_px=64, height_px=64, batch=2))


class Measuring:
    """A loop whose measurements run block after block, until somebody says stop in one of them."""

    def __init__(self, *, stop_in_block: int) -> None:
        self.blocks: list[int] = []
        self.events: list[AgentEvent] = []
        self.clock_reads = 0
        nothing: Any = None
        context: Any = SimpleNamespace(busy_clock=self)
        self.loop = CommandLoop(context=context, rendezvous=nothing, measure=self._measure, tell=self.events.append)
        self._stop_in_block = stop_in_block

    def read_s(self) -> float:
        self.clock_reads += 1
        return 0.0

    def _measure(self, command: MeasureProfile, stop: MeasuringStop) -> Profile:
        observer = StoppableObserver(NoObserver(), stop)
        while True:
            observer.begin_block(BLOCK)
            self.blocks.append(command.request_id)
            if len(self.blocks) == self._stop_in_block:
                self.loop.accept(StopMeasuring(request_id=command.request_id))
            observer.end_block(BLOCK)


def test_it_ends_within_the_block() -> None:
    bench = Measuring(stop_in_block=3)
    bench.loop.accept(COMMAND)
    bench.loop.compute_next()
    assert len(bench.blocks) == 3
    (answer,) = bench.events
    assert isinstance(answer, RequestFailed)
    assert (answer.request_id, answer.violations) == (7, ())
    assert bench.clock_reads == 1  # what it has noted is not kept until the next picture


def test_one_that_has_not_begun_does_not_begin() -> None:
    bench = Measuring(stop_in_block=0)
    bench.loop.accept(COMMAND)
    bench.loop.accept(StopMeasuring(request_id=7))
    bench.loop.compute_next()
    assert bench.blocks == []
    assert len(bench.events) == 1


def test_a_stop_that_comes_too_late_means_nothing() -> None:
    bench = Measuring(stop_in_block=1)
    bench.loop.accept(StopMeasuring(request_id=6))
    bench.loop.accept(COMMAND)
    bench.loop.compute_next()
    bench.loop.accept(StopMeasuring(request_id=7))
    assert len(bench.events) == 1
