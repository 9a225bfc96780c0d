"""The account of a picture: which plans it owes its steps to, and the sums of what its members reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.events import AgentFailed, ImageCompleted, ImageReplanned
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.reports import BeatReport, Correction, CorrectionKind
from polyrhythm.plan.plan import Plan
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import BeatDone
from polyrhythm_coordinator.scheduling.epochs.job_report import followed_plans, job_report
from tests.values.plans import plan, segment
from tests.worlds.fleet_world import World

EXACT = ImageRequest(prompt="a red apple", seed=1, quality=Quality.EXACT, steps=40)


def rest(version: int, begin_step: int) -> Plan:
    return plan(segment(begin_step, 40, (4, 4)), begin_step=begin_step, version=version)


@pytest.mark.parametrize(
    ("course", "versions"),
    [
        ([(0, 40)], [1]),
        ([(0, 0), (0, 40)], [2]),
        ([(0, 12), (12, 40)], [1, 2]),
        ([(0, 12), (12, 12), (12, 40)], [1, 3]),
        ([(0, 12), (12, 0), (0, 40)], [3]),
        ([(0, 12), (12, 20), (8, 40)], [1, 3]),
    ],
    ids=["one", "failed at once", "loss", "failed at a boundary", "from the start again", "back behind a plan"],
)
def test_only_plans_that_the_picture_owes_a_step_to_are_told(
    course: list[tuple[int, int]], versions: list[int]
) -> None:
    plans = tuple((rest(index + 1, begin_step), until) for index, (begin_step, until) in enumerate(course))
    assert [followed.version for followed in followed_plans(plans)] == versions


def test_a_picture_whose_first_epoch_failed_at_once_owes_all_to_one_plan() -> None:
    world = World("a", "b")
    job = world.submit(EXACT)
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    world.daemons["b"].worker.fail_at = 0
    world.run_until(lambda: bool(world.told_of(job, AgentFailed)))
    world.daemons["b"].worker.fail_at = None
    world.run(job)
    assert len(world.told_of(job, ImageReplanned)) == 1
    (completed,) = world.told_of(job, ImageCompleted)
    assert [(plan.begin_step, plan.agents) for plan in completed.report.plans] == [(0, ("a", "b"))]


def test_an_agent_that_was_lost_before_it_did_anything_took_no_part() -> None:
    world = World("a", "b")
    job = world.submit(EXACT)
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    world.kill_worker("b")
    world.run(job)
    (completed,) = world.told_of(job, ImageCompleted)
    assert [plan.agents for plan in completed.report.plans] == [("a",)]
    assert [usage.agent for usage in completed.report.agents] == ["a"]


def test_what_made_a_picture_is_in_its_account() -> None:
    world = World("a")
    job = world.submit(EXACT)
    world.run(job)
    (completed,) = world.told_of(job, ImageCompleted)
    agent = world.state.agents[AgentId("a")]
    (facts,), (usage,) = agent.models, completed.report.agents
    assert completed.report.fingerprint == facts.fingerprint
    assert (usage.device, usage.dtype, usage.software) == (agent.device, facts.dtype, agent.software)


def test_corrections_are_summed_up() -> None:
    world = World("a", "b")
    job = world.submit(EXACT)
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    found = tuple(Correction(step=0, layer=LayerId(layer), kind=CorrectionKind.ELEMENT, elements=2) for layer in "abc")
    report = BeatReport(
        epoch=world.sent("a", StartEpoch)[0].epoch,
        boundary_step=4,
        plan_version=1,
        active_steps=2,
        busy_s=0.0,
        wait_s=0.0,
        sent_bytes=0,
        wall_s=0.0,
        last=False,
        corrections=found,
    )
    for boundary in (4, 8):
        world.say("a", BeatDone(report=replace(report, boundary_step=boundary)))
    held = world.state.jobs[job]
    assert {usage.agent: usage.corrections for usage in job_report(held, held.pictures[0]).agents} == {"a": 6, "b": 0}
