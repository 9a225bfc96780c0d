"""Gangs of several dtypes: who may meet, and bytes and memory by the member that they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pytest

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, predict
from polyrhythm_coordinator.scheduling.planning.dtypes import exchanged_as, may_mix
from polyrhythm_coordinator.scheduling.planning.explanation import notices
from polyrhythm_coordinator.scheduling.planning.gang_rows import DoesNotFitError
from polyrhythm_coordinator.scheduling.planning.memory_model import memory_need
from polyrhythm_coordinator.scheduling.planning.message_counts import sent_bytes
from polyrhythm_coordinator.scheduling.planning.plan_builder import GangPlans, rows_only_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.tiny_models.layer_groups import token_groups
from tests.values.plan_requests import FACTS, MEMORY, plan_request

A, B, C = (AgentId(f"gpu-{index}") for index in range(3))
SLOW_WIRE = Link(latency_s=1e-4, bytes_per_s=5e7)
ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


def facts_in(dtype: str) -> ModelFacts:
    item_bytes = ITEM_BYTES[dtype]
    return replace(
        FACTS,
        dtype=dtype,
        exchanged=token_groups(8, cell_bytes=2 * 256 * item_bytes),
        weights_bytes=10_000 * item_bytes,
        memory=replace(
            MEMORY,
            denoiser_bytes=6_000 * item_bytes,
            condition_bytes=100 * item_bytes,
            own_token_bytes=1000 * item_bytes,
        ),
    )


def mixed(dtypes: Mapping[AgentId, str], *, quality: Quality = Quality.HIGH, link: Link = SLOW_WIRE) -> PlanRequest:
    own_facts = {agent: facts_in(dtype) for agent, dtype in dtypes.items()}
    request = plan_request([1.0] * len(dtypes), quality=quality, facts=facts_in("float32"), link=link)
    return replace(request, own_facts=own_facts)


def alike(dtype: str, agents: int, *, link: Link = SLOW_WIRE) -> PlanRequest:
    return plan_request([1.0] * agents, quality=Quality.HIGH, facts=facts_in(dtype), link=link)


@pytest.mark.parametrize(("one", "other"), list(product(ITEM_BYTES, repeat=2)))
def test_all_but_double_precision_may_be_mixed(one: str, other: str) -> None:
    assert may_mix(facts_in(one), facts_in(other)) == (one == other or "float64" not in {one, other})
    assert not may_mix(facts_in(one), replace(facts_in(other), fingerprint="1"))
    assert not may_mix(facts_in(one), replace(facts_in(other), name="large"))


@pytest.mark.parametrize(
    ("dtypes", "exchanged"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "bfloat16"), "bfloat16"),
        (("float16", "float32", "float32"), "float16"),
        (("float16", "bfloat16"), "bfloat16"),
        (("float64",), "float64"),
    ],
)
def test_activations_travel_in_the_narrowest_dtype(dtypes: tuple[str, ...], exchanged: str) -> None:
    assert exchanged_as(map(facts_in, dtypes)).dtype == exchanged
    assert exchanged_as(map(facts_in, reversed(dtypes))).dtype == exchanged


def test_a_mixed_gang_sends_and_takes_what_one_of_its_narrowest_dtype_does() -> None:
    request, narrow, wide = mixed({A: "float32", B: "bfloat16"}), alike("bfloat16", 2), alike("float32", 2)
    plan = rows_only_plan(request)
    assert plan == rows_only_plan(narrow)
    assert sent_bytes(plan, request) == sent_bytes(plan, narrow)
    assert sent_bytes(plan, request)[A] < sent_bytes(plan, wide)[A]
    assert predict(plan, request).denoise_s == predict(plan, narrow).denoise_s < predict(plan, wide).denoise_s


def test_a_gang_without_the_narrow_member_sends_in_its_own_dtype() -> None:
    request = mixed({A: "float32", B: "float32", C: "bfloat16"})
    pair = replace(request, profiles=request.profiles[:2])
    plan = rows_only_plan(pair)
    assert sent_bytes(plan, request) == sent_bytes(plan, alike("float32", 2))
    cost = GangPlans(request, (A, B), policy=policy_of(Quality.HIGH)).cost
    assert cost.denoise_s(plan) == GangCost(request=alike("float32", 2), agents=(A, B)).denoise_s(plan)
    assert predict(plan, request).denoise_s == cost.denoise_s(plan)


def test_each_member_holds_its_own_weights_and_the_gangs_activations() -> None:
    request = mixed({A: "float32", B: "bfloat16"})
    plan = rows_only_plan(request)
    wide, narrow = (memory_need(plan, agent, request) for agent in (A, B))
    assert (wide.weights_bytes, narrow.weights_bytes) == (24_000, 12_000)
    assert (wide.condition_bytes, narrow.condition_bytes) == (2 * 400, 2 * 200)
    assert wide.exchange_bytes == narrow.exchange_bytes == memory_need(plan, A, alike("bfloat16", 2)).exchange_bytes
    assert wide.forward_bytes > narrow.forward_bytes


def test_every_plan_that_is_compared_is_predicted_as_it_is_built() -> None:
    """The search looks gangs up in tables that are shared; the prediction is made anew."""
    request = mixed({A: "float32", B: "float32", C: "bfloat16"})
    explanation = search_plan(request)
    for candidate in (explanation.chosen, *explanation.runners_up):
        assert candidate.prediction.total_s == pytest.approx(predict(candidate.plan, request).total_s)


def test_rows_fit_by_the_dtype_that_the_gang_exchanges_in() -> None:
    request = mixed({A: "float32", B: "bfloat16"})
    plan = rows_only_plan(request)
    needs = {agent: memory_need(plan, agent, request).total_bytes for agent in (A, B)}
    assert rows_only_plan(replace(request, usable_bytes=needs)) == plan
    with pytest.raises(DoesNotFitError):
        rows_only_plan(replace(alike("float32", 2), usable_bytes=needs))


def test_the_user_is_told_of_several_dtypes() -> None:
    request = mixed({A: "float32", B: "bfloat16"})
    (told,) = notices(request, (A, B))
    assert told == "the picture is computed by gpu-0 in float32, gpu-1 in bfloat16; activations travel in bfloat16"
    assert notices(request, (A,)) == notices(alike("float32", 2), (A, B)) == ()


def test_own_facts_are_known_of_all_candidates_or_of_none() -> None:
    with pytest.raises(ValueError, match="gpu-0, not of all"):
        replace(alike("float32", 2), own_facts={A: FACTS})
