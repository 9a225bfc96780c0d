"""What makes a picture made again another one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.facts import SoftwareVersion
from polyrhythm_client.recipes.recipe import Recipe, recipe_of
from polyrhythm_client.recipes.replay import changed_software, check_weights, recorded_dtypes
from tests.fakes.coordinator import AGENTS, FACTS, agent_view, plan, report, software

REQUEST = ImageRequest(prompt="red apple", seed=9)
RETRAINED = tuple(replace(view, models=(replace(FACTS, fingerprint="beef"),)) for view in AGENTS)
BYSTANDER = replace(RETRAINED[0], name=agent_view("other").name)


def recipe() -> Recipe:
    return recipe_of(resolve(REQUEST, FACTS, 0), report(plan(), 9))


def with_software(*versions: tuple[SoftwareVersion, ...], dtypes: tuple[str, ...] = ("float32", "float32")) -> Recipe:
    records = zip(recipe().agents, versions, dtypes, strict=True)
    return replace(
        recipe(), agents=tuple(replace(record, software=held, dtype=dtype) for record, held, dtype in records)
    )


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
        (replace(recipe(), fingerprint=""), "demo", RETRAINED),
        (recipe(), "", tuple(replace(view, models=()) for view in AGENTS)),
    ],
    ids=["the same", "not of the plan", "another model is asked for", "the file names none", "loading"],
)
def test_weights_that_are_no_others(made: Recipe, model: str, agents: tuple[AgentView, ...]) -> None:
    check_weights(made, model, agents)


def test_software_is_compared_agent_by_agent() -> None:
    made = with_software(software(cudnn="9"), software(torch="1.9"), dtypes=("float32", "float16"))
    assert changed_software(made, AGENTS) == (
        "cudnn 9 in the file, none on local-0",
        "torch 1.9 in the file, 2.0 on local-1",
        "dtype of demo float16 in the file, float32 on local-1",
    )


def test_the_dtype_of_a_revision_of_the_hub_is_found_again() -> None:
    """Its name has an @ of its own."""
    model = "org/name@main"
    views = tuple(replace(view, models=(replace(FACTS, name=model),)) for view in AGENTS)
    made = with_software((), (), dtypes=("float16", "bfloat16"))
    made = replace(made, request=replace(made.request, model=model))
    assert recorded_dtypes(made) == {"local-0": "float16", "local-1": "bfloat16"}
    assert changed_software(made, views) == (
        "dtype of org/name@main float16 in the file, float32 on local-0",
        "dtype of org/name@main bfloat16 in the file, float32 on local-1",
    )
