"""What makes a picture made again another one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.request_checks import resolve
from polyrhythm_client.recipes.recipe import Recipe, recipe_of
from polyrhythm_client.recipes.replay import changed_software, check_weights, recorded_dtypes
from tests.fakes.coordinator import AGENTS, FACTS, agent_view, plan, report

REQUEST = ImageRequest(prompt="red apple", seed=9)
RETRAINED = tuple(replace(view, models=(replace(FACTS, fingerprint="beef"),)) for view in AGENTS)
BYSTANDER = replace(RETRAINED[0], agent=agent_view("other").agent)


def recipe(*versions: tuple[str, str]) -> Recipe:
    made = recipe_of(resolve(REQUEST, FACTS, 0), report(plan(), 9), AGENTS)
    return replace(made, versions=versions) if versions else made


def test_other_weights_name_both_fingerprints() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_weights(recipe(), "demo", RETRAINED)
    (violation,) = caught.value.violations
    assert violation.field == "plan"
    assert "f00d in the file, beef on local-0" in violation.description


@pytest.mark.parametrize(
    ("made", "model", "agents"),
    [
        (recipe(), "demo", AGENTS),
        (recipe(), "demo", (*AGENTS, BYSTANDER)),
        (recipe(), "another", RETRAINED),
        (recipe(("torch", "2.0")), "demo", RETRAINED),
        (recipe(), "", tuple(replace(view, models=()) for view in AGENTS)),
    ],
    ids=["the same", "not of the plan", "another model is asked for", "the file names none", "loading"],
)
def test_weights_that_are_no_others(made: Recipe, model: str, agents: tuple[AgentView, ...]) -> None:
    check_weights(made, model, agents)


def test_software_is_compared_agent_by_agent() -> None:
    made = recipe(("torch@local-0", "2.0"), ("torch@local-1", "1.9"), ("cudnn", "9"), ("model demo", "beef"))
    assert changed_software(made, AGENTS) == (
        "cudnn 9 in the file, none on local-0",
        "torch 1.9 in the file, 2.0 on local-1",
        "cudnn 9 in the file, none on local-1",
    )


def test_the_dtype_of_a_revision_of_the_hub_is_found_again() -> None:
    """Its name has an @ of its own."""
    model = "org/name@main"
    views = tuple(replace(view, models=(replace(FACTS, model=model),)) for view in AGENTS)
    made = recipe(("dtype of org/name@main", "float16"), ("torch@local-0", "2.0"), ("torch@local-1", "2.0"))
    made = replace(made, request=replace(made.request, model=model))
    assert recorded_dtypes(made) == {"local-0": "float16", "local-1": "float16"}
    assert changed_software(made, views) == (
        "dtype of org/name@main float16 in the file, float32 on local-0",
        "dtype of org/name@main float16 in the file, float32 on local-1",
    )
    mixed = replace(made, versions=tuple((f"dtype of {model}@local-{i}", dtype) for i, dtype in enumerate(("a", "b"))))
    assert recorded_dtypes(mixed) == {"local-0": "a", "local-1": "b"}
