"""What the coordinator's log says of what nobody else tells."""

from __future__ import annotations

from structlog.testing import capture_logs

from polyrhythm.errors import InternalError, NoAgentsError, PolyrhythmError
from polyrhythm.job.events import ImageCompleted
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.plan.explanation import Explanation
from polyrhythm_coordinator.runtime.observer import log_everything
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from tests.worlds.fleet_world import World

HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)


def logged(failure: PolyrhythmError) -> list[dict[str, object]]:
    """What is logged at level error of a picture in whose middle a search for another plan fails."""

    def planner(task: PlanTask) -> Explanation:
        if task.request.running is not None:
            raise failure
        return explanation_of(task)

    world = World("a", "b", planner=planner)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 8
    world.daemons["a"].worker.slowdown = 2.0
    job = world.submit(HIGH)
    world.settle()
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    assert world.told_of(job, ImageCompleted)
    with capture_logs() as lines:
        for _, event, effects in world.log:
            log_everything(event, effects)
    return [dict(line) for line in lines if line["log_level"] == "error"]


def test_a_planner_that_breaks_down_in_mid_image_is_told_with_its_cause() -> None:
    bug = InternalError("the planner failed: KeyError: 'a'")
    bug.__cause__ = KeyError("a")
    (line,) = logged(bug)
    assert line["event"] == "the planner broke down"
    assert line["error"] == str(bug)
    assert line["exc_info"] is bug.__cause__


def test_that_there_is_no_other_plan_is_no_breakdown() -> None:
    assert logged(NoAgentsError("it fits on no agents")) == []
