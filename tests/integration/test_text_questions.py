"""What a worker answers when it is asked about texts and lengths of grids, whatever it is computing meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.session.commands import CountTokens
from polyrhythm.session.events import RequestFailed, TokensCounted
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.known_words import KnownWords
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.worlds.epoch_bench import Bench, start


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["pixart"], model="tiny")


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


def test_texts_that_the_model_does_not_take_name_their_fields(folders: Mapping[str, Path]) -> None:
    bench = Bench(load_denoiser(folders["dit"], model="tiny"))
    for number, texts in enumerate((("a dog", ""), ("a dog", "blurry"), ("207", ""))):
        bench.loop.accept(question(number, *texts))
    first, both, taken = bench.events
    assert isinstance(first, RequestFailed)
    assert isinstance(both, RequestFailed)
    assert [violation.field for violation in first.violations] == ["image.prompt"]
    assert [violation.field for violation in both.violations] == ["image.prompt", "image.negative_prompt"]
    assert taken == TokensCounted(request_id=2, counts=(1, 0))


def test_a_prompt_that_names_nothing_known_is_taken_and_told_of(denoiser: Denoiser) -> None:
    words = KnownWords(subjects=("fox face",), other_words=("a",))
    bench = Bench(denoiser, known_words=words)
    bench.loop.accept(question(1, "a castle", "a fox"))
    bench.loop.accept(question(2, "a fox", "a castle"))
    strange, known = bench.of(TokensCounted)
    assert strange.notices == (words.notice("tiny", "a castle"),)
    assert (known.notices, len(known.counts)) == ((), 2)


def test_steps_that_the_schedule_has_not_are_refused_with_the_texts(folders: Mapping[str, Path]) -> None:
    bench = Bench(load_denoiser(folders["dit"], model="tiny"))
    for number, (text, steps) in enumerate((("a dog", 1001), ("207", 1000))):
        bench.loop.accept(question(number, text, "", steps=steps))
    refused, taken = bench.events
    assert isinstance(refused, RequestFailed)
    assert [violation.field for violation in refused.violations] == ["image.prompt", "image.steps"]
    assert isinstance(taken, TokensCounted)
