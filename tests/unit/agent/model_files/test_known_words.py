"""A prompt that names nothing that a model of a closed vocabulary knows is told of, and taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyrhythm.session.commands import COUNTED_FIELDS
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE, KnownWords, read_known_words

WORDS = KnownWords(subjects=("fox face", "red apple", "slice of pizza"), other_words=("a", "of", "on", "red", "blue"))


@pytest.mark.parametrize("prompt", ["a fox", "FOX, please", "an apple on a blue thing", "slice", "", "  "])
def test_a_prompt_with_a_word_of_a_subject_and_an_empty_one_are_not_told_of(prompt: str) -> None:
    assert WORDS.notice("m", prompt) is None


@pytest.mark.parametrize("prompt", ["a castle", "red on a blue thing", "of", "🦊", "foxglove"])
def test_a_prompt_that_names_no_subject_is_told_of_with_some(prompt: str) -> None:
    told = WORDS.notice("m", prompt)
    assert told is not None
    assert told.startswith("no word of this prompt names anything that model m knows")
    assert "its 3 subjects" in told


def test_what_is_nearly_named_is_told_first() -> None:
    assert "subjects are slice of pizza, fox face, red apple " in (WORDS.notice("m", "pizzas") or "")


def test_a_folder_may_list_its_words_and_they_decide_no_picture(tmp_path: Path) -> None:
    assert read_known_words(tmp_path) is None
    (tmp_path / KNOWN_WORDS_FILE).write_text(json.dumps({"subjects": ["fox"], "other_words": ["a"]}))
    assert read_known_words(tmp_path) == KnownWords(subjects=("fox",), other_words=("a",))
    (tmp_path / "model_index.json").write_text("{}")
    known = ModelFolder.open(tmp_path).fingerprint()
    (tmp_path / KNOWN_WORDS_FILE).unlink()
    assert ModelFolder.open(tmp_path).fingerprint() == known
    assert COUNTED_FIELDS[0] == "prompt"  # the one that is looked at


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"subjects": [1], "other_words": []}', '{"subjects": ["a"], "other_words": ["a"]}'],
)
def test_a_file_of_another_form_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / KNOWN_WORDS_FILE).write_text(content)
    with pytest.raises(ModelFolderError, match=rf"{KNOWN_WORDS_FILE} must list subjects and other_words"):
        read_known_words(tmp_path)
