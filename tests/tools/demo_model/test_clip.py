"""The text side of the demo UNet: a CLIP vocabulary of the captions' words, and what its training looks at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from demo_model.clip import END, LENGTH, START, new_clip_encoder, new_clip_tokenizer
from demo_model.clip_training import PARTS, standard_parts
from demo_model.data import COLOURS, FONT_PATH, NAMES
from demo_model.text import TokenTable, all_captions
from transformers import CLIPTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return new_clip_tokenizer()


def test_every_word_of_a_caption_is_one_token(tokenizer: CLIPTokenizer) -> None:
    words = {word for text in all_captions() for word in text.replace("-", " ").split()}
    assert {word: len(tokenizer.tokenize(word)) for word in words} == dict.fromkeys(words, 1)


def test_other_words_fall_into_letters_and_none_is_unknown(tokenizer: CLIPTokenizer) -> None:
    tokens = tokenizer.tokenize("quartz xylophone 17")
    assert "".join(tokens).replace("</w>", " ").strip() == "quartz xylophone 1 7"
    assert END not in tokens


def test_upper_case_is_folded(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("Fox FACE").input_ids == tokenizer("fox face").input_ids


def test_start_and_end_have_the_last_ids_and_the_end_pads(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("fox face", padding="max_length").input_ids
    assert tokenizer.convert_ids_to_tokens([len(tokenizer) - 2, len(tokenizer) - 1]) == [START, END]
    assert (ids[0], ids[3:]) == (len(tokenizer) - 2, [len(tokenizer) - 1] * (LENGTH - 3))


def test_the_vocabulary_is_the_same_every_time(tokenizer: CLIPTokenizer) -> None:
    again = new_clip_tokenizer()
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again(all_captions()).input_ids == tokenizer(all_captions()).input_ids


def test_a_saved_tokenizer_reads_alike(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.model_max_length == LENGTH
    assert loaded(all_captions()).input_ids == tokenizer(all_captions()).input_ids


def test_every_caption_leaves_room_for_the_tokens_that_tell_of_parts(tokenizer: CLIPTokenizer) -> None:
    assert max(map(len, tokenizer(all_captions()).input_ids)) <= LENGTH - PARTS


def test_padding_counts_in_a_clip_caption_and_is_not_cut(tokenizer: CLIPTokenizer) -> None:
    index_B = torch.tensor([0, 1])
    dropped_B = torch.tensor([False, True])
    counted = TokenTable(tokenizer, length=LENGTH, padding_counts=True).look_up(index_B, index_B, dropped_B)
    left_out = TokenTable(tokenizer, length=LENGTH, padding_counts=False).look_up(index_B, index_B, dropped_B)
    assert counted[0].shape == counted[1].shape == (2, LENGTH)
    assert bool(counted[1].all())
    assert left_out[0].shape[1] < LENGTH
    assert left_out[1][1].sum() == 2  # of the dropped caption, start and end are left


def test_the_encoder_takes_whole_captions_and_looks_back_only(tokenizer: CLIPTokenizer) -> None:
    torch.manual_seed(0)
    encoder = new_clip_encoder(len(tokenizer)).eval()
    one, other = (
        torch.tensor([tokenizer(text, padding="max_length").input_ids])
        for text in ("fox face on a blue background", "fox face on a red background")
    )
    with torch.no_grad():
        first_BLD, second_BLD = encoder(one)[0], encoder(other)[0]
    assert torch.equal(first_BLD[:, :5], second_BLD[:, :5])
    assert not torch.allclose(first_BLD[:, 5:], second_BLD[:, 5:], atol=1e-4)


@pytest.mark.skipif(not FONT_PATH.is_file(), reason="drawing needs the package fonts-noto-color-emoji")
def test_a_part_is_a_square_of_the_emoji() -> None:
    parts_NPQ = standard_parts()
    assert parts_NPQ.shape == (len(NAMES), PARTS, 4 * 6 * 6)
    assert parts_NPQ.mean(dim=0).abs().max() < 1e-4
    # The last quarter of a part's numbers is its opacity: an umbrella is open above and thin below.
    umbrella_PQ = parts_NPQ[NAMES.index("t-shirt")]
    opacity_P = umbrella_PQ[:, 3 * 36 :].mean(dim=1)
    assert opacity_P[[0, 3]].mean() > opacity_P[[12, 15]].mean()
    assert len(COLOURS) == 12
