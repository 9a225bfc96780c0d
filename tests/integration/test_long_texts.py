"""Prompts beyond what a text encoder reads at once: cut as diffusers cuts them, or in windows of whole words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.families.unet import UNetDenoiser
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.text.clip import text_windows
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.denoiser import LongText
from tests.oracles.pipelines import with_config
from tests.oracles.reference import plain_pipeline, relative_difference
from tests.tiny_models.transformers import tiny_pixart_folder
from tests.tiny_models.unets import TINY_UNETS, TOKEN_LIMIT

ROOM = TOKEN_LIMIT - 2
LETTERS = " ".join("abcdefghij" * 4)
"""Forty words of one token each."""
SPEC = ImageSpec(
    model="tiny",
    prompt=LETTERS,
    width_px=64,
    height_px=64,
    steps=4,
    seed=11,
    guidance=5.0,
    sampler=Sampler.DDIM,
    quality=Quality.EXACT,
)


@pytest.fixture(scope="module", params=TINY_UNETS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path], family: str) -> UNetDenoiser:
    loaded = load_denoiser(folders[family], model="tiny", dtype=torch.float64)
    assert isinstance(loaded, UNetDenoiser)
    return loaded


def chunked(prompt: str, negative_prompt: str, windows: int) -> ImageSpec:
    return replace(
        SPEC,
        prompt=prompt,
        negative_prompt=negative_prompt,
        long_prompt=LongPrompt.CHUNK,
        text_windows=windows,
    )


def prediction(denoiser: UNetDenoiser, image: ImageSpec, condition: dict[str, Tensor]) -> Tensor:
    run = denoiser.start(image, condition)
    rows = RowRange(begin=0, end=run.geometry.row_count)
    return run.predict(run.initial_noise(), 0, rows, SoloExchange(), NoObserver())


def test_what_is_cut_is_the_text_of_the_pipeline(folder: Path, denoiser: UNetDenoiser) -> None:
    spec = replace(SPEC, negative_prompt=LETTERS[::-1], long_prompt=LongPrompt.CUT)
    condition = denoiser.encode(spec)
    with torch.inference_mode():
        positive, negative, *pooled = plain_pipeline(folder, spec.sampler, torch.float64).encode_prompt(
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
        )
    assert torch.equal(condition["text_BLT"], torch.cat((negative, positive)))
    if pooled:
        assert torch.equal(condition["pooled_BQ"], torch.cat((pooled[1], pooled[0])))


def test_a_cut_tells_what_it_leaves_out(denoiser: UNetDenoiser) -> None:
    assert denoiser.long_text(LETTERS, LongPrompt.CUT) == LongText(tokens=TOKEN_LIMIT, cut_off=LETTERS[2 * ROOM :])
    assert denoiser.long_text("a b", LongPrompt.CUT) == LongText(tokens=4)


def test_windows_hold_whole_words_and_both_marks(denoiser: UNetDenoiser) -> None:
    tokenizer = denoiser._parts.text.encoders[0].tokenizer
    begin, end, padding = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    text = " ".join("a" * 7 for _ in range(ROOM // 7 + 1))
    first, second = (list(window.ids) for window in text_windows(tokenizer, text, TOKEN_LIMIT))
    kept = 7 * (ROOM // 7)
    assert (first[0], second[0], len(first), len(second)) == (begin, begin, TOKEN_LIMIT, TOKEN_LIMIT)
    assert first[kept + 1 :] == [end, *[padding] * (ROOM - kept)]
    assert second[8:] == [end, *[padding] * (ROOM - 7)]
    long_word = text_windows(tokenizer, "b " + "a" * (2 * ROOM), TOKEN_LIMIT)
    assert isinstance(end, int)
    assert [window.ids.index(end) - 1 for window in long_word] == [ROOM, ROOM, 1]
    assert [window.filled for window in long_word] == [TOKEN_LIMIT, TOKEN_LIMIT, 3]
    (empty,) = text_windows(tokenizer, "", TOKEN_LIMIT)
    assert empty.ids == (begin, end, *[padding] * ROOM)
    assert [tensor.tolist() for tensor in empty.tensors()] == [[list(empty.ids)], [[1, 1, *[0] * ROOM]]]


def word(tokens: int) -> str:
    """One word of so many tokens: its letters make no pairs."""
    return "b" * tokens


BORDERS: Mapping[str, tuple[str, list[int]]] = {
    "words that end where the window ends": (f"{word(ROOM - 3)} {word(3)}", [ROOM]),
    "a short word beyond it": (f"{word(ROOM - 6)} {word(7)}", [ROOM - 6, 7]),
    "a short word with no room at all": (f"{word(ROOM)} {word(1)}", [ROOM, 1]),
    "a long word beyond it": (f"{word(ROOM - 6)} {word(8)}", [ROOM, 2]),
    "a long word that ends there": (f"{word(ROOM - 8)} {word(8)} a", [ROOM, 1]),
    "a long word with no room at all": (f"{word(ROOM)} {word(8)}", [ROOM, 8]),
    "a long word over three windows": (f"a {word(2 * ROOM)} a", [ROOM, ROOM, 2]),
    "a short word after the rest of a long one": (f"{word(ROOM + 3)} {word(ROOM - 5)} {word(3)}", [ROOM, ROOM - 2, 3]),
    "other spaces": (f"{word(ROOM - 6)}\n\t {word(7)}  ", [ROOM - 6, 7]),
}


@pytest.mark.parametrize(("text", "filled"), BORDERS.values(), ids=BORDERS)
def test_words_at_the_end_of_a_window(denoiser: UNetDenoiser, text: str, filled: list[int]) -> None:
    tokenizer = denoiser._parts.text.encoders[0].tokenizer
    begin, end, padding = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    windows = text_windows(tokenizer, text, TOKEN_LIMIT)
    assert [window.filled - 2 for window in windows] == filled
    for window, count in zip(windows, filled, strict=True):
        assert (window.ids[0], window.ids[count + 1 :]) == (begin, (end, *[padding] * (ROOM - count)))
    kept = [id_ for window, count in zip(windows, filled, strict=True) for id_ in window.ids[1 : count + 1]]
    assert kept == tokenizer(text).input_ids[1:-1]  # nothing is lost, and nothing told apart by the words' bounds
    assert denoiser._parts.text.count_windows(text) == len(filled)


@pytest.mark.parametrize(("limit", "filled"), [(3, [1] * 5), (6, [4, 1]), (7, [5])])
def test_a_word_that_no_window_holds_is_split_however_short_it_is(
    denoiser: UNetDenoiser, limit: int, filled: list[int]
) -> None:
    tokenizer = denoiser._parts.text.encoders[0].tokenizer
    windows = text_windows(tokenizer, word(5), limit)
    assert isinstance(tokenizer.eos_token_id, int)
    assert [window.ids.index(tokenizer.eos_token_id) - 1 for window in windows] == filled


def test_a_tokenizer_that_needs_fewer_windows_has_empty_ones(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["sdxl"], tmp_path / "m")
    file = folder / "tokenizer_2" / "tokenizer.json"
    described = json.loads(file.read_text())
    described["model"]["merges"] = []
    file.write_text(json.dumps(described))
    loaded = load_denoiser(folder, model="tiny")
    assert isinstance(loaded, UNetDenoiser)
    text = " ".join(["app"] * ROOM)  # two tokens each, or three
    first, second = (text_windows(part.tokenizer, text, TOKEN_LIMIT) for part in loaded._parts.text.encoders)
    assert len(first) < len(second)
    spec = chunked(text, "", len(second))
    own_LT = loaded.encode(spec)["text_BLT"][1, :, : loaded._parts.text.encoders[0].encoder.outline.config.hidden_size]
    empty_LT = loaded.encode(replace(SPEC, prompt="", negative_prompt="a"))["text_BLT"][1]
    assert own_LT.shape[0] == len(second) * TOKEN_LIMIT
    assert torch.equal(own_LT[-TOKEN_LIMIT:], empty_LT[:, : own_LT.shape[1]])


def test_windows_follow_one_another_and_the_first_one_is_the_pooled_text(denoiser: UNetDenoiser) -> None:
    windows = -(-40 // ROOM)
    assert denoiser.long_text(LETTERS, LongPrompt.CHUNK) == LongText(tokens=windows * TOKEN_LIMIT)
    condition = denoiser.encode(chunked(LETTERS, LETTERS, windows))
    empty = denoiser.empty_condition(chunked(LETTERS, LETTERS, windows))
    assert {name: (held.shape, held.dtype) for name, held in condition.items()} == {
        name: (held.shape, held.dtype) for name, held in empty.items()
    }
    words = LETTERS.split()
    for index in range(windows):
        part = " ".join(words[index * ROOM : (index + 1) * ROOM])
        alone = denoiser.encode(replace(SPEC, prompt=part, negative_prompt="a"))
        place = slice(index * TOKEN_LIMIT, (index + 1) * TOKEN_LIMIT)
        assert torch.equal(condition["text_BLT"][:, place], alone["text_BLT"][[1, 1]])
        if index == 0:
            assert torch.equal(condition["pooled_BQ"], alone["pooled_BQ"][[1, 1]])


def test_windows_are_masked_where_the_config_asks_for_it(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """No pipeline of diffusers has windows: each is read as a text of its own would be."""
    folder = with_config(folders["sd"], tmp_path, "text_encoder", use_attention_mask=True)
    denoiser, windows, words = load_denoiser(folder, model="tiny"), -(-40 // ROOM), LETTERS.split()
    condition = denoiser.encode(chunked(LETTERS, LETTERS, windows))
    assert len(words) % ROOM  # the last one has padding
    for index in range(windows):
        alone = denoiser.encode(replace(SPEC, prompt=" ".join(words[index * ROOM : (index + 1) * ROOM])))
        place = slice(index * TOKEN_LIMIT, (index + 1) * TOKEN_LIMIT)
        assert torch.equal(condition["text_BLT"][1, place], alone["text_BLT"][1])


def test_a_short_text_beside_a_long_one_is_attended_to_as_if_it_stood_alone(denoiser: UNetDenoiser) -> None:
    """Windows repeated change no attention: so other programs bring texts to one length."""
    windows = -(-40 // ROOM)
    spec = chunked(LETTERS, "a b c", windows)
    condition = dict(denoiser.encode(spec))
    assert condition["mask_BL"].sum(1).tolist() == [TOKEN_LIMIT, windows * TOKEN_LIMIT]
    negative_LT = condition["text_BLT"][0, :TOKEN_LIMIT].repeat(windows, 1)
    repeated = {
        **condition,
        "text_BLT": torch.stack((negative_LT, condition["text_BLT"][1])),
        "mask_BL": torch.ones_like(condition["mask_BL"]),
    }
    masked_BCHW, repeated_BCHW = (prediction(denoiser, spec, each) for each in (condition, repeated))
    assert relative_difference(masked_BCHW, repeated_BCHW) < 1e-9
    cut = replace(SPEC, negative_prompt="a b c", long_prompt=LongPrompt.CUT)
    assert relative_difference(masked_BCHW, prediction(denoiser, cut, dict(denoiser.encode(cut)))) > 1e-6


def test_a_text_that_fits_is_the_same_however_long_ones_are_treated(denoiser: UNetDenoiser) -> None:
    usual = denoiser.encode(replace(SPEC, prompt="a red apple"))
    for treatment in (LongPrompt.CUT, LongPrompt.CHUNK):
        other = denoiser.encode(replace(SPEC, prompt="a red apple", long_prompt=treatment))
        assert usual.keys() == other.keys()
        assert all(torch.equal(usual[name], other[name]) for name in usual)


def test_models_with_t5_cut_and_do_not_chunk(tmp_path: Path) -> None:
    denoiser = load_denoiser(tiny_pixart_folder(tmp_path / "m", token_limit=24), model="tiny")
    assert denoiser.facts.long_prompts == ("cut",)
    found = denoiser.long_text("apple " * 30, LongPrompt.CUT)  # pyright: ignore[reportAttributeAccessIssue]
    assert (found.tokens, found.cut_off.split()) == (24, ["apple"] * 7)


def test_a_model_that_reads_no_text_at_all_is_refused(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "m")
    file = folder / "tokenizer" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 2}))
    with pytest.raises(ModelFolderError, match="takes 2 tokens, both marks included"):
        load_denoiser(folder, model="tiny")
