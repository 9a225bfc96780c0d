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
import torch
from torch import Tensor

from polyrhythm.facts import ModelPart
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.image import ImageSpec, LongPrompt, Sampler
from polyrhythm.messages import (
    AbortEpoch,
    AgentEvent,
    BeatDone,
    CancelEpoch,
    CountTokens,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    ExtendPlan,
    ImageMade,
    MemoryRead,
    PartLoaded,
    PreviewMade,
    RequestFailed,
    TokensCounted,
)
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.device_memory import HostMemory, LimitedMemory
from polyrhythm_agent.errors import PictureBlackError, PictureNotFiniteError
from polyrhythm_agent.known_words import KnownWords
from polyrhythm_agent.ports import Denoiser
from tests.epoch_bench import ME, PLAN, STEPS, Bench, picture, start
from tests.models import tiny_dit_folder, tiny_pixart_folder
from tests.plans import exact_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def denoiser(folder: Path) -> Denoiser:
    return load_denoiser(folder, model="tiny")


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
    assert (end.outcome, end.detail) == (EpochOutcome.ABORTED, "a member is lost")
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


def test_work_beyond_the_memory_limit_is_refused_before_it_begins(denoiser: Denoiser) -> None:
    bench = Bench(denoiser, device_memory=LimitedMemory(HostMemory(weights_bytes=lambda: 0), 1 << 20))
    bench.loop.accept(replace(start(), memory_need_bytes=2 << 20))
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory, end.held_boundaries) == (EpochOutcome.FAILED, True, ())
    assert end.detail == "OutOfMemoryError: the work needs 2.0 MiB, the limit is 1.0 MiB"
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
    assert end.detail == "the work needs 2.0 MiB, the limit is 1.0 MiB"
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
    assert str(error) in end.detail


def test_a_failure_of_another_kind_ends_the_worker(denoiser: Denoiser) -> None:
    short: Any = ShortDenoiser(denoiser, RuntimeError("a bug"), forwards=3)
    bench = Bench(short)
    bench.loop.accept(start())
    with pytest.raises(RuntimeError, match="a bug"):
        bench.loop.compute_next()


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


def question(request_id: int, *texts: str, steps: int = 4, long_prompt: LongPrompt = LongPrompt.REFUSE) -> CountTokens:
    return CountTokens(
        request_id=request_id,
        model="tiny",
        texts=texts,
        sampler=Sampler.DDIM,
        steps=steps,
        long_prompt=long_prompt,
    )


def test_what_is_cut_off_a_text_is_told(denoiser: Denoiser) -> None:
    bench = Bench(denoiser)
    bench.loop.accept(question(1, "apple " * 121, "cat", long_prompt=LongPrompt.CUT))
    (answer,) = bench.of(TokensCounted)
    assert answer.counts == (120, 2)
    assert answer.notices == ("prompt: cut off behind 120 tokens, so the picture knows nothing of 'apple apple'",)


def test_tokens_are_counted_while_another_thread_encodes(denoiser: Denoiser) -> None:
    """The tokenizer keeps how it pads as state: unguarded, counts come back padded and prompts unpadded."""
    bench = Bench(denoiser)
    wrong: list[int] = []
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            bench.loop.accept(question(1, "a red apple"))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(40):  # unguarded, twenty never went well
            condition = denoiser.encode(start().image)
            wrong.extend(t.shape[1] for t in condition.values() if t.ndim > 1 and t.shape[1] != 120)
    finally:
        done.set()
        thread.join(timeout=5)
    assert wrong == []
    assert {event.counts for event in bench.of(TokensCounted)} == {(denoiser.count_tokens("a red apple"),)}


def test_texts_that_the_model_does_not_take_name_their_fields(tmp_path: Path) -> None:
    bench = Bench(load_denoiser(tiny_dit_folder(tmp_path / "m"), model="tiny"))
    for number, texts in enumerate((("a dog", ""), ("a dog", "blurry"), ("207", ""))):
        bench.loop.accept(question(number, *texts))
    first, both, taken = bench.events
    assert isinstance(first, RequestFailed)
    assert isinstance(both, RequestFailed)
    assert [violation.field for violation in first.violations] == ["prompt"]
    assert [violation.field for violation in both.violations] == ["prompt", "negative_prompt"]
    assert taken == TokensCounted(request_id=2, counts=(1, 0))


def test_a_prompt_that_names_nothing_known_is_taken_and_told_of(denoiser: Denoiser) -> None:
    words = KnownWords(subjects=("fox face",), other_words=("a",))
    bench = Bench(denoiser, known_words=words)
    bench.loop.accept(question(1, "a castle", "a fox"))
    bench.loop.accept(question(2, "a fox", "a castle"))
    strange, known = bench.of(TokensCounted)
    assert strange.notices == (words.notice("tiny", "a castle"),)
    assert (known.notices, len(known.counts)) == ((), 2)


def test_steps_that_the_schedule_has_not_are_refused_with_the_texts(tmp_path: Path) -> None:
    bench = Bench(load_denoiser(tiny_dit_folder(tmp_path / "m"), model="tiny"))
    for number, (text, steps) in enumerate((("a dog", 1001), ("207", 1000))):
        bench.loop.accept(question(number, text, "", steps=steps))
    refused, taken = bench.events
    assert isinstance(refused, RequestFailed)
    assert [violation.field for violation in refused.violations] == ["prompt", "steps"]
    assert isinstance(taken, TokensCounted)


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
        assert (end.outcome, end.detail) == (EpochOutcome.ABORTED, "a member is lost")
        transport = weakref.ref(bench.transports.pop())
        assert transport() is None
    finally:
        gc.enable()
