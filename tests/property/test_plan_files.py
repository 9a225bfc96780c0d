"""Whatever a plan file holds, it is a recipe that can be sent on, or an error that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.errors import PolyrhythmError
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.request_checks import resolve
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.options import ImageOptions
from polyrhythm_client.local.layout import replay_layout
from polyrhythm_client.recipes.png import add_texts
from polyrhythm_client.recipes.recipe import (
    AGENTS_KEY,
    PLAN_KEY,
    REQUEST_KEY,
    recipe_of,
    recipe_texts,
    request_settings,
)
from polyrhythm_client.recipes.recipe_file import read_recipe
from polyrhythm_client.recipes.replay import changed_software, changed_weights, recorded_dtypes
from tests.fakes.coordinator import AGENTS, FACTS, PNG, explanation, plan, report

REQUEST = ImageRequest(prompt="red apple", guidance=2.5, seed=9, quality=Quality.BALANCED)
EXPLAINED = {"request": request_settings(REQUEST), **asdict(explanation())}
TEXTS = recipe_texts(recipe_of(resolve(REQUEST, FACTS, 0), report(plan(), 9)))
ODD = (
    *(
        "null",
        "true",
        "[]",
        "{}",
        "-1",
        "0",
        "1.5",
        '""',
        '"x"',
        '"a-99999"',
        r'"\ud800"',
        r'"\u0000"',
        "NaN",
        "-Infinity",
    ),
    *(str(2**31), str(2**63), str(2**64), "1" * 400, "1" * 5000, "1e999", "[" * 100_000, '{"a":' * 100_000),
    *(f'"a-{"9" * 5000}"', f'"{"a" * 5000}"', r'{"\ud800": "x"}', "[[{}]]"),
)
"""Values as a file may spell them; some are no JSON at all."""


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a document, the document itself first."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


def changed(document: object, path: tuple[Any, ...], spelled: str) -> str:
    """The text of a document with another value at a path."""
    mark = "\N{OBJECT REPLACEMENT CHARACTER}"
    copy = {"": json.loads(json.dumps(document))}
    holder: Any = copy
    for key in ("", *path)[:-1]:
        holder = holder[key]
    holder[("", *path)[-1]] = mark
    return json.dumps(copy[""], ensure_ascii=False).replace(f'"{mark}"', spelled)


@st.composite
def changes(draw: st.DrawFn, document: object) -> str:
    path = draw(st.sampled_from(places(json.loads(json.dumps(document)))))
    return changed(document, path, draw(st.sampled_from(ODD)))


def follow(path: Path) -> None:
    """All that is done with a plan file before a fleet is asked."""
    recipe = read_recipe(path)
    image_request_to_proto(image_request(ImageOptions(prompt="p" if recipe.bare else None), recipe))
    changed_weights(recipe, "", AGENTS)
    changed_software(recipe, AGENTS)
    replay_layout(recipe.plan, recipe.agents, (0, 1), (), recorded_dtypes(recipe))


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    path = tmp_path_factory.mktemp("plans") / "file"

    def written(content: bytes) -> Path:
        path.write_bytes(content)
        return path

    return written


def test_what_is_changed_is_good_unchanged(write: Callable[[bytes], Path]) -> None:
    follow(write(json.dumps(EXPLAINED).encode()))
    follow(write(add_texts(PNG, TEXTS)))


@settings(max_examples=300)
@given(text=changes(EXPLAINED))
def test_a_changed_plan_is_followed_or_refused(write: Callable[[bytes], Path], text: str) -> None:
    with suppress(PolyrhythmError):
        follow(write(text.encode()))


@settings(max_examples=300)
@given(data=st.data(), key=st.sampled_from([REQUEST_KEY, PLAN_KEY, AGENTS_KEY]))
def test_changed_texts_of_a_picture_are_followed_or_refused(
    write: Callable[[bytes], Path], data: st.DataObject, key: str
) -> None:
    text = data.draw(changes(json.loads(TEXTS[key])))
    with suppress(PolyrhythmError):
        follow(write(add_texts(PNG, {**TEXTS, key: text})))


@given(cut=st.integers(0, 1500), flipped=st.lists(st.tuples(st.integers(0, 1499), st.integers(0, 255)), max_size=8))
def test_a_damaged_file_is_refused(write: Callable[[bytes], Path], cut: int, flipped: list[tuple[int, int]]) -> None:
    content = bytearray(add_texts(PNG, TEXTS))
    for index, value in flipped:
        content[index % len(content)] = value
    with suppress(PolyrhythmError):
        follow(write(bytes(content[: len(content) - cut])))
