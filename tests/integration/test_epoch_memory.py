"""Memory in an epoch of one worker: limits, parts that are loaded when they are needed, and what runs out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelPart
from polyrhythm.session.commands import ExtendPlan
from polyrhythm.session.events import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    MemoryRead,
    PartLoaded,
)
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.memory.device_memory import HostMemory, LimitedMemory
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.worlds.epoch_bench import PLAN, Bench, picture, start


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["pixart"], model="tiny")


class ShortDenoiser:
    """A denoiser on a device that fails after some forwards."""

    def __init__(self, denoiser: Denoiser, error: RuntimeError, *, forwards: int) -> None:
        self._denoiser = denoiser
        self._error = error
        self._left = forwards

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> Any:
        run: Any = self._denoiser.start(image, condition)
        whole = run.predict

        def predict(*arguments: Any, **named: Any) -> Tensor:
            if not self._left:
                raise self._error
            self._left -= 1
            return whole(*arguments, **named)

        run.predict = predict
        return run


def test_work_beyond_the_memory_limit_is_refused_before_it_begins(denoiser: Denoiser) -> None:
    bench = Bench(denoiser, device_memory=LimitedMemory(HostMemory(weights_bytes=lambda: 0), 1 << 20))
    bench.loop.accept(replace(start(), memory_need_bytes=2 << 20))
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory, end.held_boundaries) == (EpochOutcome.FAILED, True, ())
    assert end.message == "OutOfMemoryError: the work needs 2.0 MiB, the limit is 1.0 MiB"
    assert not bench.of(EpochJoined)
    bench.loop.accept(replace(start(2), memory_need_bytes=1 << 20))
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[1].outcome is EpochOutcome.FINISHED


def test_a_newer_plan_beyond_the_memory_limit_ends_the_epoch(denoiser: Denoiser) -> None:
    def send_more(event: AgentEvent) -> None:
        if isinstance(event, BeatDone) and event.report.boundary_step == 2:
            segment = replace(PLAN.segments[0], begin_step=4)
            bench.loop.accept(
                ExtendPlan(
                    epoch=start().epoch,
                    plan_version=2,
                    segments=(segment,),
                    complete=True,
                    step_timeout_s=10.0,
                    uninterruptible_s=1.0,
                    memory_need_bytes=2 << 20,
                )
            )

    bench = Bench(denoiser, send_more, device_memory=LimitedMemory(HostMemory(weights_bytes=lambda: 0), 1 << 20))
    bench.loop.accept(replace(start(), memory_need_bytes=1 << 20))
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory, end.gang_intact) == (EpochOutcome.FAILED, True, False)
    assert end.message == "the work needs 2.0 MiB, the limit is 1.0 MiB"
    assert not picture(bench)


@pytest.mark.parametrize("preview_every_steps", [0, 2])
def test_parts_are_loaded_for_the_roles_of_an_epoch_and_their_loading_is_told(
    folder: Path, preview_every_steps: int
) -> None:
    fresh = load_denoiser(folder, model="tiny")
    bench = Bench(fresh)
    command = replace(start(), image=replace(start().image, preview_every_steps=preview_every_steps))
    bench.loop.accept(command)
    bench.loop.compute_next()
    loads = [event for event in bench.events if isinstance(event, PartLoaded | EpochJoined | BeatDone)]
    kinds = [type(event) for event in loads]
    (joined,) = [index for index, kind in enumerate(kinds) if kind is EpochJoined]
    # A preview is made between two steps, which must not wait for loading.
    early = {event.part for event in loads[:joined] if isinstance(event, PartLoaded)}
    assert early == ({*ModelPart} if preview_every_steps else {ModelPart.TEXT_ENCODER})
    assert all(event.loading_s > 0 for event in bench.of(PartLoaded))
    assert [event.part for event in bench.of(PartLoaded)] == [ModelPart.TEXT_ENCODER, ModelPart.AUTOENCODER]
    bench.loop.accept(replace(command, epoch=EpochId(incarnation=1, counter=2), job=JobId("next")))
    bench.loop.compute_next()
    assert len(bench.of(PartLoaded)) == 2  # both are there still


def test_a_member_that_neither_encodes_nor_decodes_loads_nothing(folder: Path) -> None:
    fresh = load_denoiser(folder, model="tiny")
    bench = Bench(fresh)
    bench.memory.remember_condition(JobId("job"), fresh.empty_condition(start().image))
    bench.loop.accept(replace(start(), decoder=AgentId("other")))
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[0].outcome is EpochOutcome.FINISHED
    assert not bench.of(PartLoaded)
    assert not any(part.held for part in fresh.parts)


def test_where_memory_is_short_parts_take_turns(folder: Path) -> None:
    fresh = load_denoiser(folder, model="tiny")
    whole = Bench(fresh)
    whole.loop.accept(start())
    whole.loop.compute_next()
    for part in fresh.parts:
        part.release()
    need_bytes = 1 << 22
    held: list[tuple[type, set[ModelPart]]] = []
    bench = Bench(
        fresh,
        lambda event: held.append((type(event), {part.part for part in fresh.parts if part.held})),
        device_memory=LimitedMemory(HostMemory(weights_bytes=lambda: 0), need_bytes),
    )
    bench.loop.accept(replace(start(), memory_need_bytes=need_bytes))
    bench.loop.compute_next()
    assert picture(bench) == picture(whole)
    while_denoising = [parts for kind, parts in held if kind is BeatDone]
    assert while_denoising
    assert not any(while_denoising)
    assert max(len(parts) for _, parts in held) == 1
    assert held[-1] == (EpochEnded, {ModelPart.AUTOENCODER})


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_runs_out_in_mid_epoch_is_told_and_the_boundary_is_held(
    denoiser: Denoiser, error: RuntimeError
) -> None:
    short: Any = ShortDenoiser(denoiser, error, forwards=3)
    bench = Bench(short)
    bench.loop.accept(start())
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory, end.gang_intact) == (EpochOutcome.FAILED, True, False)
    assert end.held_boundaries == (2,)
    assert str(error) in end.message


def test_memory_is_read_again_before_the_end_of_an_epoch_is_told(denoiser: Denoiser) -> None:
    bench = Bench(denoiser)
    bench.loop.accept(start())
    bench.loop.compute_next()
    assert [type(event) for event in bench.events[-2:]] == [MemoryRead, EpochEnded]


def test_memory_is_read_while_nothing_is_computed(denoiser: Denoiser) -> None:
    seen: list[object] = []
    bench = Bench(denoiser, lambda _: seen.append(bench.loop.read_memory()))
    assert isinstance(bench.loop.read_memory(), MemoryRead)
    bench.loop.accept(start())
    bench.loop.compute_next()
    assert set(seen) == {None}
    assert isinstance(bench.loop.read_memory(), MemoryRead)
