"""Memory that is too little for a picture, or runs out in the middle of one: who is planned with, how it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import AgentFailed, ImageCompleted, ImagePlanned, ImageReplanned, ReplanReason
from polyrhythm.job.image import ImageRequest, Objective, Quality
from polyrhythm.model.facts import ModelMemory
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.plan import Plan
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import MemoryRead, WorkerLost
from polyrhythm_coordinator.scheduling.fleet.memory_ceilings import lowered
from tests.fakes.model import FACTS
from tests.worlds.fleet_world import World

MIB = 1 << 20
WEIGHTS_BYTES = 100 * MIB
ROW_BYTES = 10 * MIB
TOKENS_A_ROW = 8
HEAVY = replace(
    FACTS,
    weights_bytes=WEIGHTS_BYTES,
    memory=ModelMemory(
        denoiser_bytes=WEIGHTS_BYTES,
        text_encoder_bytes=0,
        autoencoder_bytes=0,
        condition_bytes=0,
        own_token_bytes=ROW_BYTES // (2 * TOKENS_A_ROW),
        image_token_bytes=0,
        decode_pixel_bytes=0,
    ),
)
HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)


def world_of(*agents: str) -> World:
    """Agents whose model weighs something."""
    world = World()
    for agent in agents:
        world.connect(agent).worker.facts = (HEAVY,)
        world.load(agent)
    return world


def read_memory(world: World, agent: str, usable_bytes: int) -> None:
    world.say(agent, MemoryRead(usable_bytes=usable_bytes, free_bytes=max(0, usable_bytes - WEIGHTS_BYTES)))


def rows_of(plan: Plan, agent: str) -> int:
    """Most row units that an agent holds at one time; none where it is no member."""
    if agent not in plan.agents:
        return 0
    return max(segment.of(AgentId(agent)).rows.count for segment in plan.segments)


def planned(world: World, job: JobId) -> ImagePlanned:
    (event,) = world.told_of(job, ImagePlanned)
    return event


def test_throughput_is_for_devices_on_which_the_whole_picture_fits() -> None:
    world = world_of("a", "b")
    for agent in ("a", "b"):
        read_memory(world, agent, WEIGHTS_BYTES + 5 * ROW_BYTES + MIB)
    many = replace(HIGH, count=2, objective=Objective.THROUGHPUT)
    job = world.submit(many)
    world.run(job)
    assert [told.explanation.chosen.plan.agents for told in world.told_of(job, ImagePlanned)] == [("a", "b")] * 2
    read_memory(world, "b", WEIGHTS_BYTES + 9 * ROW_BYTES)
    job = world.submit(many)
    world.run(job)
    assert [told.explanation.chosen.plan.agents for told in world.told_of(job, ImagePlanned)] == [("b",)] * 2


def test_memory_is_what_was_last_read() -> None:
    world = world_of("a", "b")
    read_memory(world, "b", WEIGHTS_BYTES + 2 * ROW_BYTES + MIB)
    job = world.submit(HIGH)
    world.run(job)
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") == 2
    read_memory(world, "b", WEIGHTS_BYTES + 3 * ROW_BYTES + MIB)
    job = world.submit(HIGH)
    world.run(job)
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") == 3


def test_an_agent_that_is_too_small_is_left_out_and_told() -> None:
    world = world_of("a", "b")
    read_memory(world, "b", 90 * MIB)
    job = world.submit(HIGH, explain_only=True)
    world.run(job)
    explanation = planned(world, job).explanation
    assert explanation.chosen.plan.agents == ("a",)
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == ("b", ExclusionReason.TOO_LITTLE_MEMORY)
    assert "needs 110." in exclusion.message
    assert "free to it are 90.0 MiB" in exclusion.message


def test_a_picture_that_fits_nowhere_ends_the_job_with_the_sizes() -> None:
    world = world_of("a")
    read_memory(world, "a", 90 * MIB)
    job = world.submit(HIGH)
    world.run(job)
    error = world.ended[job]
    assert isinstance(error, NoAgentsError)
    assert "a does not fit" in str(error)


def test_each_member_is_told_what_it_is_predicted_to_need() -> None:
    world = world_of("a", "b")
    job = world.submit(HIGH)
    world.run(job)
    shares = {share.agent: share.memory_bytes for share in planned(world, job).explanation.chosen.prediction.agents}
    for agent in ("a", "b"):
        (start,) = world.sent(agent, StartEpoch)
        assert start.memory_need_bytes == shares[AgentId(agent)] > WEIGHTS_BYTES


def test_an_agent_whose_memory_runs_out_gets_less_and_the_picture_goes_on_from_the_last_boundary() -> None:
    world = world_of("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") == 4
    world.daemons["b"].worker.rows_max = 2
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    assert world.ended[job] is None
    (failed,) = world.told_of(job, AgentFailed)
    assert (failed.agent, failed.reason) == ("b", "OutOfMemoryError: too many rows")
    (replanned,) = world.told_of(job, ImageReplanned)
    assert (replanned.reason, replanned.begin_step) == (ReplanReason.OUT_OF_MEMORY, 12)
    assert 0 < rows_of(replanned.plan, "b") <= 2
    (completed,) = world.told_of(job, ImageCompleted)
    assert [plan.begin_step for plan in completed.report.plans] == [0, 12]


def test_what_was_too_much_is_what_the_plan_in_force_needed() -> None:
    world = world_of("a", "b")
    world.daemons["a"].worker.slowdown = 5.0
    world.daemons["b"].worker.rows_max = 5
    job = world.submit(HIGH)
    world.run(job)
    assert world.ended[job] is None
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") == 4
    (newer,) = (command for command in world.sent("b", ExtendPlan) if command.plan_version == 2)
    assert max(segment.of(AgentId("b")).rows.count for segment in newer.segments) == 7
    # It runs out in the first step of the newer plan, before anybody reports that one: half of 7 is left, not of 4.
    (replanned,) = world.told_of(job, ImageReplanned)
    assert (replanned.reason, rows_of(replanned.plan, "b")) == (ReplanReason.OUT_OF_MEMORY, 3)


def test_it_gets_less_each_time_until_it_gets_nothing() -> None:
    world = world_of("a", "b")
    world.daemons["b"].worker.rows_max = 0
    job = world.submit(HIGH)
    world.run(job)
    assert world.ended[job] is None
    rows = [rows_of(event.plan, "b") for event in world.told_of(job, ImageReplanned)]
    assert rows == sorted(set(rows), reverse=True)
    assert rows[-1] == 0
    assert {event.reason for event in world.told_of(job, ImageReplanned)} == {ReplanReason.OUT_OF_MEMORY}


def test_the_next_picture_of_that_size_does_not_run_out_again_and_a_new_worker_is_believed_anew() -> None:
    world = world_of("a", "b")
    world.daemons["b"].worker.rows_max = 2
    for _ in range(2):
        job = world.submit(HIGH)
        world.run(job)
    assert not world.told_of(job, ImageReplanned)
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") <= 2
    world.kill_worker("b")
    world.settle()
    world.load("b")
    job = world.submit(HIGH, explain_only=True)
    world.run(job)
    assert rows_of(planned(world, job).explanation.chosen.plan, "b") == 4


def test_one_agent_alone_whose_memory_runs_out_ends_the_job() -> None:
    world = world_of("a")
    world.daemons["a"].worker.rows_max = 7
    job = world.submit(HIGH)
    world.run(job)
    error = world.ended[job]
    assert isinstance(error, NoAgentsError)
    assert str(error) == "the picture fits on no agents: 3 of 8 rows take all of 140.0 MiB that are free to a"


def test_a_given_plan_that_does_not_fit_is_tried_once_and_then_replaced() -> None:
    world = world_of("a", "b")
    job = world.submit(HIGH, explain_only=True)
    world.run(job)
    given = planned(world, job).explanation.chosen.plan
    read_memory(world, "b", WEIGHTS_BYTES + 2 * ROW_BYTES + MIB)
    world.daemons["b"].worker.rows_max = 2
    job = world.submit(replace(HIGH, plan=given))
    world.run(job)
    assert world.ended[job] is None
    assert planned(world, job).explanation.chosen.plan == given
    (replanned,) = world.told_of(job, ImageReplanned)
    # What was believed of its memory was right: it was only the plan that was not.
    assert (replanned.reason, rows_of(replanned.plan, "b")) == (ReplanReason.OUT_OF_MEMORY, 2)


def test_the_loss_of_an_agent_is_still_a_loss() -> None:
    world = world_of("a", "b", "c")
    world.daemons["b"].worker.rows_max = 1
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    world.daemons["b"].worker.rows_max = None
    job = world.submit(HIGH)
    world.settle()
    world.daemons["b"].worker.rows_max = 1
    world.say("c", WorkerLost(reason="killed"))
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    assert world.ended[job] is None
    assert world.told_of(job, ImageReplanned)[0].reason is ReplanReason.AGENT_LOST


@pytest.mark.parametrize(("need", "weights", "left"), [(300, 100, 200), (100, 100, 100), (101, 100, 100)])
def test_half_of_what_was_needed_beside_the_weights(need: int, weights: int, left: int) -> None:
    assert lowered(need, weights) == left
