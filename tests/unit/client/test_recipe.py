"""What a picture's file says about how it was made, and reading it back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.request_choices import Sampler
from polyrhythm_client.recipes.png import add_texts
from polyrhythm_client.recipes.recipe import (
    AGENTS_KEY,
    REQUEST_KEY,
    Recipe,
    recipe_of,
    recipe_texts,
    request_settings,
)
from polyrhythm_client.recipes.recipe_file import read_recipe
from tests.fakes.coordinator import FACTS, PNG, explanation, plan, report

REQUEST = ImageRequest(prompt="red apple", negative_prompt="blur", guidance=2.5, seed=9)


@pytest.fixture
def recipe() -> Recipe:
    return recipe_of(resolve(REQUEST, FACTS, 0), report(plan(), 9))


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(InvalidArgumentError) as caught:
        read_recipe(path)
    (violation,) = caught.value.violations
    return violation.field, violation.description


def test_a_picture_brings_its_recipe_along(recipe: Recipe, tmp_path: Path) -> None:
    back = read_recipe(write(tmp_path / "a.png", add_texts(PNG, recipe_texts(recipe))))
    assert back == recipe
    assert back.plan == plan()
    assert [(agent.emulated_speed, agent.threads) for agent in back.agents] == [(None, 1), (0.5, 1)]


def test_the_recipe_of_a_picture_made_again_is_the_same(recipe: Recipe, tmp_path: Path) -> None:
    back = read_recipe(write(tmp_path / "a.png", add_texts(PNG, recipe_texts(recipe))))
    again = recipe_of(resolve(back.request, FACTS, 12345), report(plan(), 9))
    assert recipe_texts(again) == recipe_texts(recipe)


def test_plans_of_which_no_step_is_left_do_not_show(recipe: Recipe) -> None:
    second = replace(report(plan(), 9), plans=(replace(plan(), version=2),))
    assert recipe_of(resolve(REQUEST, FACTS, 0), second) == recipe


def test_a_plan_in_json_is_a_recipe(tmp_path: Path) -> None:
    back = read_recipe(write(tmp_path / "plan.json", json.dumps(asdict(plan()))))
    assert back.plan == plan()
    assert (back.agents, back.bare) == ((), True)


def test_a_picture_of_several_plans_is_made_again_by_the_one_that_they_amount_to(tmp_path: Path) -> None:
    first, rest = plan(), plan(("local-0",))
    rest = replace(rest, begin_step=4, version=2, segments=(replace(rest.segments[0], begin_step=4, end_step=8),))
    lost = replace(report(first, 9), plans=(first, rest))
    texts = recipe_texts(recipe_of(resolve(REQUEST, FACTS, 0), lost))
    back = read_recipe(write(tmp_path / "a.png", add_texts(PNG, texts)))
    assert back.plan.agents == ("local-0", "local-1")
    assert [segment.begin_step for segment in back.plan.segments] == [0, 4]
    assert [share.rows.count for share in back.plan.segments[1].assignments] == [16, 0]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("nonsense", "plan"),
        ("[" * 100_000, "plan"),
        ('{"segments":' * 100_000, "plan"),
        ("9" * 5000, "plan"),
        (json.dumps(asdict(plan()) | {"steps": 2**31}), "plan.steps"),
        (json.dumps(asdict(plan()) | {"version": int("9" * 400)}), "plan.version"),
        (json.dumps(asdict(plan()) | {"version": float("nan")}), "plan"),
        (
            json.dumps(asdict(plan())).replace('"begin": 8', f'"begin": {2**31}'),
            "plan.segments[0].assignments[1].rows.begin",
        ),
        (json.dumps(asdict(plan()) | {"encoder": "\ud800"}), "plan.encoder"),
        ("[]", "plan"),
        ("{}", "plan.version"),
        ('{"chosen": []}', "plan.chosen.plan"),
        (json.dumps(asdict(explanation())), "plan.request"),
        (json.dumps(asdict(plan()) | {"steps": "8"}), "plan.steps"),
        (json.dumps(asdict(plan()) | {"steps": True}), "plan.steps"),
        (json.dumps(asdict(plan()) | {"steps": 9}), "plan"),
        (json.dumps(asdict(plan())).replace("displaced", "misplaced"), "plan.segments[1].exchange"),
        (json.dumps(asdict(plan())).replace('"begin": 8', '"begin": 7'), "plan.segments[0]"),
    ],
)
def test_a_plan_that_means_nothing_names_its_field(document: str, field: str, tmp_path: Path) -> None:
    path = write(tmp_path / "plan.json", document)
    found, message = refused(path)
    assert found == field
    assert message.startswith(f"{path}: ")
    assert len(message) < 200


def test_a_file_that_does_not_end_is_refused() -> None:
    field, message = refused(Path("/dev/zero"))
    assert (field, message) == ("plan", "/dev/zero cannot be read: it is longer than 268435456 bytes")


def test_a_printed_explanation_brings_its_request(tmp_path: Path) -> None:
    asked = replace(REQUEST, sampler=Sampler.DDIM, width_px=64, seed=None)
    document = {"request": request_settings(asked), **asdict(explanation())}
    back = read_recipe(write(tmp_path / "plan.json", json.dumps(document)))
    assert back.request == replace(asked, plan=plan())
    assert not back.bare
    document["request"]["seed"] = -1
    assert refused(write(tmp_path / "odd.json", json.dumps(document)))[0] == "plan.request.seed"


def test_pictures_of_others_and_missing_files_are_refused(tmp_path: Path) -> None:
    assert "does not say how it was made" in refused(write(tmp_path / "a.png", PNG))[1]
    assert "cannot be read" in refused(tmp_path / "absent.png")[1]
    assert "ends inside the chunk" in refused(write(tmp_path / "cut.png", PNG[:50]))[1]


@pytest.mark.parametrize(
    ("key", "changes", "field"),
    [
        (REQUEST_KEY, {"guidance": int("9" * 400)}, "request.guidance"),
        (REQUEST_KEY, {"seed": 2**64}, "request.seed"),
        (REQUEST_KEY, {"seed": None}, "request.seed"),
        (REQUEST_KEY, {"prompt": "\udc80"}, "request.prompt"),
        (REQUEST_KEY, {"width_px": 2**31}, "request.width_px"),
    ],
)
def test_values_that_cannot_be_sent_are_refused(
    recipe: Recipe, tmp_path: Path, key: str, changes: dict, field: str
) -> None:
    texts = recipe_texts(recipe)
    texts[key] = json.dumps(json.loads(texts[key]) | changes)
    assert refused(write(tmp_path / "a.png", add_texts(PNG, texts)))[0] == field


@pytest.mark.parametrize(
    "changes", [{"emulated_speed": 0.0}, {"emulated_speed": 2}, {"dtype": "\ud800"}, {"software": "torch"}]
)
def test_agents_that_cannot_be_started_are_refused(recipe: Recipe, tmp_path: Path, changes: dict) -> None:
    texts = recipe_texts(recipe)
    texts[AGENTS_KEY] = json.dumps([json.loads(texts[AGENTS_KEY])[0] | changes])
    (name,) = changes
    assert refused(write(tmp_path / "a.png", add_texts(PNG, texts)))[0] == f"plan.agents[0].{name}"


def test_settings_that_mean_nothing_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    texts = recipe_texts(recipe)
    texts[REQUEST_KEY] = texts[REQUEST_KEY].replace("dpmpp-2m", "heun")
    field, message = refused(write(tmp_path / "a.png", add_texts(PNG, texts)))
    assert field == "request.sampler"
    assert message.endswith(", got 'heun'")


@pytest.mark.parametrize("stride", [0, -2, 3, 2**31 - 1])
def test_a_stride_that_nobody_takes_is_refused_before_multiples_of_many_are_computed(
    stride: int, tmp_path: Path
) -> None:
    text = json.dumps(asdict(plan())).replace('"stride": 1', f'"stride": {stride}', 1)
    field, message = refused(write(tmp_path / "plan.json", text))
    assert field == "plan.segments[0].assignments[0].stride"
    assert message.endswith(f"must be one of 1, 2, 4, got {stride}")


def test_an_object_that_says_something_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(asdict(plan())).replace('"version": 1', '"version": 1, "version": 2', 1)
    field, message = refused(write(tmp_path / "plan.json", text))
    assert field == "plan"
    assert "'version' twice" in message
