"""Agents that compute in several dtypes: which of them make a picture together, and what they are told."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageCompleted, ImagePlanned, ImageReplanned
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.session.commands import StartEpoch
from tests.fakes.model import FACTS
from tests.tiny_models.layer_groups import token_groups
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

REQUEST = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH)
EXACT = replace(REQUEST, quality=Quality.EXACT)
NARROW = replace(FACTS, dtype="bfloat16", exchanged=token_groups(2, cell_bytes=16))
DOUBLE = replace(FACTS, dtype="float64", exchanged=token_groups(2, cell_bytes=64))


def fleet(**dtypes: str) -> World:
    """Agents as slow as an old card's would be, each of which computes in its own dtype."""
    held = {facts.dtype: facts for facts in (FACTS, NARROW, DOUBLE)}
    world = World()
    for agent, dtype in dtypes.items():
        world.connect(agent).worker.facts = (held[dtype],)
        world.load(agent)
    return world


def planned(world: World, request: ImageRequest) -> ImagePlanned:
    job = world.submit(request)
    world.run(job)
    assert world.ended[job] is None
    (told,) = world.told_of(job, ImagePlanned)
    return told


def test_a_gang_of_two_dtypes_exchanges_in_the_narrow_one() -> None:
    world = fleet(a="float32", b="bfloat16")
    explanation = planned(world, REQUEST).explanation
    plan = explanation.chosen.plan
    assert plan.agents == ("a", "b")
    commands = [command for agent in "ab" for command in world.sent(agent, StartEpoch)]
    assert [command.exchange_dtype for command in commands] == ["bfloat16", "bfloat16"]
    alike = planned(fleet(a="bfloat16", b="bfloat16"), REQUEST).explanation.chosen
    sent = {share.agent: share.sent_bytes for share in explanation.chosen.prediction.agents}
    assert sent == {share.agent: share.sent_bytes for share in alike.prediction.agents}
    assert explanation.notices == (
        "the picture is computed by a in float32, b in bfloat16; activations travel in bfloat16",
    )


def test_double_precision_stays_apart() -> None:
    world = fleet(a="float32", b="float64", c="bfloat16")
    explanation = planned(world, REQUEST).explanation
    assert explanation.chosen.plan.agents == ("a", "c")
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == ("b", ExclusionReason.WRONG_MODEL)


def test_an_exact_picture_is_computed_in_one_dtype() -> None:
    world = fleet(a="bfloat16", b="float32", c="bfloat16")
    explanation = planned(world, EXACT).explanation
    assert explanation.chosen.plan.agents == ("a", "c")
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == ("b", ExclusionReason.OTHER_ARITHMETIC)
    assert exclusion.message == "it computes in float32, and all of an exact picture is computed in bfloat16"
    assert explanation.notices == ()


def test_of_as_many_the_more_precise_compute_an_exact_picture() -> None:
    assert planned(fleet(a="bfloat16", b="float32"), EXACT).explanation.chosen.plan.agents == ("b",)


def test_an_exact_picture_is_computed_in_the_dtype_of_the_devices_that_are_asked_for() -> None:
    world = fleet(a="bfloat16", b="float32", c="bfloat16")
    request = replace(EXACT, overrides=Overrides(devices=(AgentId("b"),)))
    assert planned(world, request).explanation.chosen.plan.agents == ("b",)


def test_an_exact_plan_of_several_dtypes_is_refused() -> None:
    world = fleet(**{"agent-0": "bfloat16", "agent-1": "float32"})
    job = world.submit(replace(EXACT, plan=exact_plan(12, (4, 4))))
    world.run_until(lambda: job in world.ended)
    error = world.ended[job]
    assert isinstance(error, InvalidArgumentError)
    assert "agent-0: it computes in bfloat16" in str(error)


def test_the_survivor_of_a_mixed_gang_goes_on_in_its_own_dtype() -> None:
    world = fleet(a="float32", b="bfloat16")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 8
    job = world.submit(replace(REQUEST, steps=16))
    world.settle()
    world.kill_worker("b")
    world.daemons["a"].worker.pause_at = None
    world.run(job)
    assert world.ended[job] is None
    assert world.told_of(job, ImageReplanned)
    assert [command.exchange_dtype for command in world.sent("a", StartEpoch)] == ["bfloat16", "float32"]


def test_each_devices_dtype_is_in_the_report() -> None:
    world = fleet(a="float32", b="bfloat16")
    job = world.submit(REQUEST)
    world.run(job)
    (completed,) = world.told_of(job, ImageCompleted)
    assert {usage.agent: usage.dtype for usage in completed.report.agents} == {"a": "float32", "b": "bfloat16"}
