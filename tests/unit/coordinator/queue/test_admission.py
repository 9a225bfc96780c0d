"""Requests before they are queued."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import (
    CancelledError,
    FieldViolation,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PictureFailedError,
)
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned, JobAccepted
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm.session.commands import CountTokens, StartEpoch
from polyrhythm.session.events import RequestFailed, TokensCounted, WorkerReady
from tests.fakes.model import CUT_NOTICE, FACTS, SCHEDULE_STEPS, STRANGE, STRANGE_NOTICE, UNPAINTED
from tests.values.calibrations import calibration
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

REQUEST = ImageRequest(prompt="a red apple", seed=1)
ENOUGH = CancelledError("enough")
NINE_WORDS = "one two three four five six seven eight nine"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (replace(REQUEST, prompt="one two three four five six seven eight"), "image.prompt"),
        (replace(REQUEST, negative_prompt="one two three four five six seven eight"), "image.negative_prompt"),
        (replace(REQUEST, width_px=60), "image.width_px"),
        (replace(REQUEST, model="fake", long_prompt=LongPrompt.CHUNK, steps=0), "image.steps"),
        (replace(REQUEST, steps=0), "image.steps"),
        (replace(REQUEST, steps=1001), "image.steps"),
        (replace(REQUEST, steps=SCHEDULE_STEPS + 1), "image.steps"),
        (replace(REQUEST, count=65), "image.count"),
        (replace(REQUEST, plan=exact_plan(12, (4, 4))), "image.plan"),
        (replace(REQUEST, plan=exact_plan(12, (3, 4))), "image.plan"),
    ],
)
def test_bad_input_names_its_field_and_is_not_queued(request_: ImageRequest, field: str) -> None:
    world = World("a")
    job = world.submit(request_)
    world.settle()
    error = world.ended[job]
    assert isinstance(error, InvalidArgumentError)
    assert {violation.field for violation in error.violations} == {field}
    assert world.told[job] == []
    assert world.state.jobs == {}


@pytest.mark.parametrize(
    ("prompt", "negative_prompt", "fields"),
    [
        (UNPAINTED, "", ["image.prompt"]),
        ("apple", UNPAINTED, ["image.negative_prompt"]),
        (UNPAINTED, UNPAINTED, ["image.prompt", "image.negative_prompt"]),
    ],
)
def test_texts_that_the_model_does_not_take_are_refused_by_the_first_agent(
    prompt: str, negative_prompt: str, fields: list[str]
) -> None:
    world = World("a", "b")
    job = world.submit(replace(REQUEST, prompt=prompt, negative_prompt=negative_prompt))
    world.settle()
    error = world.ended[job]
    assert isinstance(error, InvalidArgumentError)
    assert [violation.field for violation in error.violations] == fields
    assert world.told[job] == []
    assert world.state.jobs == {}
    assert len(world.sent("a", CountTokens)) + len(world.sent("b", CountTokens)) == 1


def test_an_empty_prompt_is_a_prompt() -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, prompt=""))
    world.run(job)
    assert world.ended[job] is None
    (start,) = world.sent("a", StartEpoch)
    assert start.image.prompt == ""


def test_a_refusal_of_a_long_prompt_names_what_the_model_offers_instead() -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, prompt=NINE_WORDS))
    world.settle()
    assert str(world.ended[job]) == "image.prompt: at most 8 tokens, got 10; --long-prompt may be cut or chunk"


def test_a_prompt_that_is_cut_tells_the_user_what_is_left_out() -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, prompt=NINE_WORDS, long_prompt=LongPrompt.CUT))
    world.run(job)
    (start,) = world.sent("a", StartEpoch)
    assert (start.image.long_prompt, start.image.text_windows) == (LongPrompt.CUT, 1)
    (planned,) = (event for event in world.told[job] if isinstance(event, ImagePlanned))
    assert planned.explanation.notices == (CUT_NOTICE,)


def test_a_prompt_that_is_chunked_says_how_many_windows_it_takes() -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, negative_prompt=NINE_WORDS, long_prompt=LongPrompt.CHUNK))
    world.run(job)
    (start,) = world.sent("a", StartEpoch)
    assert (start.image.long_prompt, start.image.text_windows) == (LongPrompt.CHUNK, 2)


def test_what_a_model_does_not_do_with_long_prompts_is_refused_by_name() -> None:
    world = World("a")
    world.say("a", WorkerReady(models=(replace(FACTS, long_prompts=(LongPrompt.CUT,)),)))
    job = world.submit(replace(REQUEST, long_prompt=LongPrompt.CHUNK))
    assert str(world.ended[job]) == "image.long_prompt: fake offers refuse and cut, got chunk"


@pytest.mark.parametrize("counts", [(1,), (2**31 - 1, 1)], ids=["a count is missing", "more windows than any text has"])
def test_an_answer_that_does_not_fit_the_question_ends_its_sender(counts: tuple[int, ...]) -> None:
    world = World("a")
    world.daemons["a"].worker.mute = True
    job = world.submit(replace(REQUEST, long_prompt=LongPrompt.CHUNK))
    (question,) = world.sent("a", CountTokens)
    world.say("a", TokensCounted(request_id=question.request_id, counts=counts))
    assert job not in world.ended
    assert "a" not in world.state.agents


def test_an_answer_to_a_question_that_nobody_asked_ends_nothing() -> None:
    world = World("a")
    world.daemons["a"].worker.mute = True
    job = world.submit()
    violations = (FieldViolation(field="image.prompt", description="is not painted here"),)
    world.say("a", RequestFailed(request_id=99, message="late", violations=violations))
    assert job not in world.ended


def test_a_question_that_no_agent_can_answer_ends_with_what_each_of_them_said() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.mute = True
    job = world.submit()
    for name in ("a", "b"):
        (question,) = world.sent(name, CountTokens)
        world.say(name, RequestFailed(request_id=question.request_id, message=f"odd code on {name}"))
    error = world.ended[job]
    assert isinstance(error, NoAgentsError)
    assert str(error) == "no agent could count the prompt's tokens; asked: a (odd code on a), b (odd code on b)"


def test_an_unknown_model_is_not_found() -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, model="other"))
    error = world.ended[job]
    assert isinstance(error, NotFoundError)
    assert error.known == ("fake",)


def test_a_model_must_be_named_where_there_are_several() -> None:
    world = World("a", "b")
    world.say("b", WorkerReady(models=(replace(FACTS, name="other"),)))
    unnamed, named = world.submit(REQUEST), world.submit(replace(REQUEST, model="fake"))
    world.run(named)
    assert isinstance(world.ended[unnamed], InvalidArgumentError)
    assert world.ended[named] is None
    assert world.sent("b", StartEpoch) == []


def test_of_two_weights_under_one_name_the_more_common_ones_count() -> None:
    world = World("a", "b", "c")
    world.say("a", WorkerReady(models=(replace(FACTS, fingerprint="0000"),)))
    job = world.submit()
    world.run(job)
    assert world.ended[job] is None
    assert world.sent("a", StartEpoch) == []


def test_no_agent_at_all_is_an_error_at_once() -> None:
    world = World()
    job = world.submit()
    assert isinstance(world.ended[job], NoAgentsError)


def test_a_loading_agent_is_waited_for() -> None:
    world = World()
    world.connect("a")
    job = world.submit()
    for _ in range(100):
        world.tick()
    assert job not in world.ended
    world.load("a")
    world.run(job)
    assert world.ended[job] is None


def test_a_loading_agent_is_not_waited_for_for_ever() -> None:
    world = World()
    world.connect("a")
    job = world.submit()
    world.run_until(lambda: job in world.ended, limit_s=31)
    assert isinstance(world.ended[job], NoAgentsError)


def test_tokens_are_counted_by_an_idle_agent() -> None:
    world = World("a", "b", per_row_s={"b": 10.0})
    world.daemons["a"].worker.pause_at = 4
    first = world.submit()
    world.settle()
    assert first not in world.ended
    assert world.state.agents[AgentId("a")].epoch is not None
    assert world.state.agents[AgentId("b")].epoch is None
    world.submit()
    assert len(world.sent("a", CountTokens)) == 1
    assert len(world.sent("b", CountTokens)) == 1


def test_a_working_agent_counts_tokens_too() -> None:
    world = World("a")
    world.daemons["a"].worker.pause_at = 4
    world.submit()
    world.settle()
    second = world.submit()
    world.settle()
    assert world.told_of(second, JobAccepted)


def test_a_mute_agent_is_asked_only_once() -> None:
    world = World("a", "b")
    world.daemons["a"].worker.mute = True
    job = world.submit()
    world.run_until(lambda: bool(world.told[job]), limit_s=6)
    assert len(world.sent("a", CountTokens)) == 1
    assert len(world.sent("b", CountTokens)) == 1


def test_if_nobody_counts_the_request_is_refused() -> None:
    world = World("a")
    world.daemons["a"].worker.mute = True
    job = world.submit()
    world.run_until(lambda: job in world.ended, limit_s=6)
    assert isinstance(world.ended[job], NoAgentsError)


def test_the_question_moves_on_when_its_agent_dies() -> None:
    world = World("a", "b")
    job = world.submit()
    world.kill_daemon("a")
    world.settle()
    assert world.told_of(job, JobAccepted)


@pytest.mark.parametrize(("prompt", "told"), [(STRANGE, (STRANGE_NOTICE,)), ("a red apple", ())])
def test_what_an_agent_says_of_a_prompt_that_it_takes_is_told_with_the_plan(prompt: str, told: tuple[str, ...]) -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, prompt=prompt))
    world.run(job)
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.notices == told


def test_a_loss_is_refused_where_nothing_says_what_a_step_costs() -> None:
    world = World()
    worker = world.connect("a").worker
    sampler = worker.facts[0].samplers[0]
    worker.facts = tuple(
        replace(facts, calibrations=(calibration(sampler=sampler, steps=50),)) for facts in worker.facts
    )
    world.load("a")
    job = world.submit(replace(REQUEST, steps=200, quality=Quality.BALANCED, overrides=Overrides(loss_db=0.5)))
    world.settle()
    error = world.ended[job]
    assert isinstance(error, InvalidArgumentError)
    (violation,) = error.violations
    assert violation.field == "image.overrides.loss_db"
    assert violation.description.startswith("cannot be held: ")


def test_a_prompt_that_ends_two_workers_is_looked_at_by_no_third() -> None:
    world = World("a", "b", "c")
    job, behind = world.submit(), world.submit()
    for victim in "ab":
        assert job not in world.ended
        world.kill_worker(victim)
        world.deliver_up(world.daemons[victim])
    assert job in world.ended
    error = world.ended[job]
    assert isinstance(error, PictureFailedError)
    assert "a (killed); then b (killed)" in str(error)
    assert len(world.sent("c", CountTokens)) == 1  # of the other one, which was not looked at yet
    world.settle()
    assert world.told_of(behind, JobAccepted)


def test_a_worker_that_ends_over_a_picture_is_not_held_against_a_prompt() -> None:
    world = World("a")
    world.daemons["a"].worker.pause_at = 4
    world.submit()
    world.settle()
    job = world.submit()
    world.kill_worker("a")
    world.deliver_up(world.daemons["a"])
    assert world.state.applicants[job].deaths == ()


@pytest.mark.parametrize("counts", [(1,), (2**31 - 1, 1)], ids=["a count is missing", "more windows than any text has"])
def test_who_is_lost_over_a_question_twice_is_asked_no_more(counts: tuple[int, ...]) -> None:
    world = World("a")
    job = world.submit(replace(REQUEST, long_prompt=LongPrompt.CHUNK))
    for _ in range(2):
        assert job not in world.ended
        question = world.sent("a", CountTokens)[-1]
        world.say("a", TokensCounted(request_id=question.request_id, counts=counts))
        world.connect("a")
        world.load("a")
    assert isinstance(world.ended[job], NoAgentsError)
    assert len(world.sent("a", CountTokens)) == 2
