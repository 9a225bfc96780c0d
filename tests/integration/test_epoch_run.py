"""Epochs of one worker from command to end: what is told, what is kept, what becomes of the gang."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelPart
from polyrhythm.session.commands import AbortEpoch, CancelEpoch
from polyrhythm.session.events import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    ImageMade,
    PartLoaded,
    PreviewMade,
)
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import PictureBlackError, PictureNotFiniteError
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.values.plans import exact_plan
from tests.worlds.epoch_bench import ME, STEPS, Bench, picture, start


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["pixart"], model="tiny")


def test_a_whole_epoch(denoiser: Denoiser) -> None:
    bench = Bench(denoiser)
    bench.loop.accept(start())
    bench.loop.compute_next()
    assert len(bench.of(EpochJoined)) == 1
    assert [done.report.boundary_step for done in bench.of(BeatDone)] == [2, 4, 6]
    assert picture(bench).startswith(b"\x89PNG")
    (end,) = bench.of(EpochEnded)
    assert end.outcome is EpochOutcome.FINISHED
    assert end.gang_intact
    assert end.held_boundaries == (4, 6)


def test_an_epoch_that_resumes_makes_the_same_picture(denoiser: Denoiser) -> None:
    bench = Bench(denoiser)
    bench.loop.accept(start())
    bench.loop.compute_next()
    whole = picture(bench)
    bench.events.clear()
    bench.loop.accept(start(2, begin_step=4))
    bench.loop.compute_next()
    assert picture(bench) == whole
    assert bench.of(EpochJoined)[0].encode_s == 0.0  # embeddings are kept between epochs of a job
    assert len(bench.transports) == 1  # and so is the gang


def test_an_abort_before_the_start_is_not_lost(denoiser: Denoiser) -> None:
    bench = Bench(denoiser)
    bench.loop.accept(start())
    bench.loop.accept(AbortEpoch(epoch=start().epoch, reason="a member is lost"))
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.message) == (EpochOutcome.ABORTED, "a member is lost")
    assert not bench.of(EpochJoined)


def test_an_abort_in_mid_epoch_ends_the_gang(denoiser: Denoiser) -> None:
    def abort(event: AgentEvent) -> None:
        if isinstance(event, BeatDone):
            bench.loop.accept(AbortEpoch(epoch=start().epoch, reason="a member is lost"))

    bench = Bench(denoiser, abort)
    bench.loop.accept(start())
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert end.outcome is EpochOutcome.ABORTED
    assert not end.gang_intact
    assert end.held_boundaries == (2,)
    assert not picture(bench)


class Encoding:
    """A denoiser that counts how often it encodes and decodes."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self.used: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        self.used.append("encode")
        return self._denoiser.encode(image)

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        self.used.append("decode")
        return self._denoiser.decode(latent_BCHW)


@pytest.mark.parametrize(
    ("loaded", "used"), [(ModelPart.TEXT_ENCODER, []), (ModelPart.AUTOENCODER, ["encode"])], ids=str
)
def test_an_abort_while_a_part_is_loaded_is_heeded_before_it_is_used(
    denoiser: Denoiser, loaded: ModelPart, used: list[str]
) -> None:
    for part in denoiser.parts:
        part.release()

    def abort(event: AgentEvent) -> None:
        if isinstance(event, PartLoaded) and event.part is loaded:
            bench.loop.accept(AbortEpoch(epoch=start().epoch, reason="a member is lost"))

    counting: Any = Encoding(denoiser)
    bench = Bench(counting, abort)
    bench.loop.accept(start())
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[0].outcome is EpochOutcome.ABORTED
    assert counting.used == used


def test_a_preview_with_nothing_to_see_is_left_out(denoiser: Denoiser) -> None:
    seen: list[Tensor] = []

    def decode(latent_BCHW: Tensor) -> Tensor:
        seen.append(latent_BCHW)
        if len(seen) == 1:
            raise PictureBlackError("picture: black all over")
        return denoiser.decode(latent_BCHW)

    dark: Any = SimpleNamespace(**{name: getattr(denoiser, name) for name in dir(denoiser) if name[0] != "_"})
    dark.decode = decode
    bench = Bench(dark)
    bench.loop.accept(replace(start(), image=replace(start().image, preview_every_steps=2)))
    bench.loop.compute_next()
    assert [preview.step for preview in bench.of(PreviewMade)] == [4]
    assert bench.of(EpochEnded)[0].outcome is EpochOutcome.FINISHED


@pytest.mark.parametrize("error", [PictureBlackError("black"), PictureNotFiniteError("nan")])
def test_what_is_no_picture_is_told_as_that(denoiser: Denoiser, error: Exception) -> None:
    def decode(_: Tensor) -> Tensor:
        raise error

    broken: Any = SimpleNamespace(**{name: getattr(denoiser, name) for name in dir(denoiser) if name[0] != "_"})
    broken.decode = decode
    bench = Bench(broken)
    bench.loop.accept(start())
    bench.loop.compute_next()
    (ended,) = bench.of(EpochEnded)
    assert (ended.outcome, ended.no_picture, ended.out_of_memory) == (EpochOutcome.FAILED, True, False)


def test_a_cancel_stops_at_a_boundary_and_skips_the_decode(denoiser: Denoiser) -> None:
    def cancel(event: AgentEvent) -> None:
        if isinstance(event, BeatDone):
            bench.loop.accept(CancelEpoch(epoch=start().epoch))

    bench = Bench(denoiser, cancel)
    bench.loop.accept(start())
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert end.outcome is EpochOutcome.CANCELLED
    assert end.gang_intact
    assert not picture(bench)


def test_an_abort_after_the_last_boundary_leaves_the_gang_as_it_is(denoiser: Denoiser) -> None:
    """The transport is not in use while the picture is decoded: a gang reported intact must be so."""

    def abort(event: AgentEvent) -> None:
        if isinstance(event, ImageMade):
            bench.loop.accept(AbortEpoch(epoch=start().epoch, reason="too late"))

    bench = Bench(denoiser, abort)
    bench.loop.accept(start())
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[0].gang_intact
    bench.loop.accept(start(2))
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[1].outcome is EpochOutcome.FINISHED
    assert len(bench.transports) == 1


def test_an_epoch_that_failed_leaves_nothing_behind(denoiser: Denoiser) -> None:
    """Latents, sockets and threads go at once: a worker's next full garbage collection may never come."""

    def abort_when_joined(event: AgentEvent) -> None:
        if isinstance(event, EpochJoined):
            aborting.start()

    peer = AgentId("agent-1")
    bench = Bench(denoiser, abort_when_joined)
    command = start()
    abort = AbortEpoch(epoch=command.epoch, reason="a member is lost")
    aborting = threading.Timer(0.1, lambda: bench.loop.accept(abort))  # by then it waits for its peer's rows
    segments = exact_plan(STEPS, (8, 8), beat_steps=2).segments
    bench.loop.accept(replace(command, members=(ME, peer), segments=segments))
    gc.collect()
    gc.disable()
    try:
        bench.loop.compute_next()
        aborting.join()
        (end,) = bench.of(EpochEnded)
        assert (end.outcome, end.message) == (EpochOutcome.ABORTED, "a member is lost")
        transport = weakref.ref(bench.transports.pop())
        assert transport() is None
    finally:
        gc.enable()
