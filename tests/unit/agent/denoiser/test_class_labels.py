"""A prompt is a class or an error that says what would be one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.denoiser.text.class_labels import ClassLabels
from polyrhythm_agent.errors import ModelFolderError
from tests.tiny_models.transformers import LABELS

IMAGENET = ClassLabels.read({str(number): names for number, names in LABELS.items()}, 1000)


@pytest.mark.parametrize(
    ("prompt", "number"),
    [
        ("golden retriever", 207),
        (" Golden RETRIEVER ", 207),
        ("tinca tinca", 0),
        ("tench", 0),
        ("Cardigan", 264),
        ("cardigan", 474),
        ("cardigan welsh corgi", 264),
        ("0", 0),
        (" 999 ", 999),
        ("007", 7),
    ],
)
def test_names_in_any_case_and_numbers_are_classes(prompt: str, number: int) -> None:
    assert IMAGENET.number(prompt) == number


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("golden retreiver", "give the name or the number (0..999) of one, got 'golden retreiver'; did you mean 'gold"),
        ("1000", "class numbers are 0..999, got '1000'"),
        ("-1", "give the name or the number (0..999) of one, got '-1'"),
        ("²", "got '²'"),
        ("9" * 5000, f"got '{'9' * 60}…'"),
        ("crane", "'crane' is the name of classes 134, 517; give the number"),
        ("CARDIGAN", "'CARDIGAN' is the name of classes 264, 474; give the number"),
        ("tench, Tinca tinca", "got 'tench, Tinca tinca'; did you mean 'Tinca tinca'"),
        ("a picture of a cat", "got 'a picture of a cat'"),
        ("", "got ''"),
    ],
)
def test_anything_else_is_refused_and_names_the_prompt(prompt: str, expected: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(expected)) as caught:
        IMAGENET.number(prompt)
    assert [violation.field for violation in caught.value.violations] == ["prompt"]
    assert len(str(caught.value)) < 300


def test_a_model_without_names_takes_numbers() -> None:
    labels = ClassLabels.read(None, 10)
    assert labels.number("9") == 9
    with pytest.raises(InvalidArgumentError, match=r"give the number \(0\.\.9\) of one, got 'cat'$"):
        labels.number("cat")


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        (["cat"], "id2label is a list"),
        ({"10": "cat"}, "id2label names '10' 'cat'; the model has classes 0..9"),
        ({"one": "cat"}, "id2label names 'one' 'cat'"),
        ({"1": ["cat"]}, "id2label names '1'"),
    ],
)
def test_names_that_mean_nothing_are_the_folders_error(id2label: Any, expected: str) -> None:
    with pytest.raises(ModelFolderError, match=re.escape(expected)):
        ClassLabels.read(id2label, 10)
