"""One fleet: how long its plans take to find, and what they make of the picture in virtual time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median

from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.plan_request import SearchEffort
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.planning.speed_change import scaled
from polyrhythm_coordinator.simulation.fleet_files.description import FleetDescription
from polyrhythm_coordinator.simulation.report.outcome import simulate
from scaling_study.fleets import Interconnect

REQUEST = ImageRequest(prompt="simulated")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """One fleet.

    Attributes:
        interconnect: how its devices are joined.
        agents: devices.
        plan_s: median wall seconds of the first plan's search.
        replan_s: the same for the rest of the picture from its middle on, when a member of the first plan gets slower.
        plan_cpu_s: CPU seconds of the first, which other processes on the machine hardly change.
        replan_cpu_s: CPU seconds of the second.
        members: of the chosen plan.
        denoise_s: simulated.
        predicted_s: of the cost model.
        solo_s: simulated denoising of the fastest device alone.
        utilisation: computing of the plan's members while denoising, over their number and the simulated time.
        simulation_s: wall seconds of the simulation, plan searches left out.
    """

    interconnect: Interconnect
    agents: int
    plan_s: float
    replan_s: float
    plan_cpu_s: float
    replan_cpu_s: float
    members: int
    denoise_s: float
    predicted_s: float
    solo_s: float
    utilisation: float
    simulation_s: float


class TimedPlanner:
    """The real search, with the task and the time of each call kept."""

    def __init__(self) -> None:
        self.task: PlanTask | None = None
        self.spent_s = 0.0

    def __call__(self, task: PlanTask) -> Explanation:
        """Answers a plan task."""
        self.task = task
        begin_s = time.perf_counter()
        explanation = explanation_of(task)
        self.spent_s += time.perf_counter() - begin_s
        return explanation


def measure(fleet: FleetDescription, interconnect: Interconnect, *, repetitions: int) -> FleetResult:
    """Simulates one picture on a fleet and on its fastest device, and times the searches."""
    planner = TimedPlanner()
    begin_s = time.perf_counter()
    outcome = simulate(fleet, REQUEST, planner=planner)
    simulation_s = time.perf_counter() - begin_s - planner.spent_s
    assert planner.task is not None
    (report,) = outcome.reports
    running = outcome.explanations[0].chosen.plan
    members = running.agents
    solo = replace(fleet, devices=fleet.devices[:1], links={})
    plan_s, plan_cpu_s = _search_s(planner.task, repetitions)
    replan_s, replan_cpu_s = _search_s(_second_half(planner.task, running), repetitions)
    return FleetResult(
        interconnect=interconnect,
        agents=len(fleet.devices),
        plan_s=plan_s,
        replan_s=replan_s,
        plan_cpu_s=plan_cpu_s,
        replan_cpu_s=replan_cpu_s,
        members=len(members),
        denoise_s=report.denoise_s,
        predicted_s=report.predicted_denoise_s,
        solo_s=simulate(solo, REQUEST).reports[0].denoise_s,
        utilisation=sum(usage.busy_s for usage in report.agents) / (report.denoise_s * len(members)),
        simulation_s=simulation_s,
    )


def _second_half(task: PlanTask, running: Plan) -> PlanTask:
    """What is searched when the first member of a running plan turns out to be half as fast, in mid-picture."""
    request = task.request
    profiles = tuple(profile for profile in request.profiles if profile.agent in running.agents)
    slower = (scaled(profiles[0], 2.0), *profiles[1:])
    begin_step = request.image.steps // 2
    own = replace(request, profiles=slower, begin_step=begin_step, version=2, running=running)
    return replace(task, request=replace(own, effort=SearchEffort.QUICK))


def _search_s(task: PlanTask, repetitions: int) -> tuple[float, float]:
    """Median wall and CPU seconds of a search."""
    wall_s: list[float] = []
    cpu_s: list[float] = []
    for _ in range(repetitions):
        begin_s, cpu_begin_s = time.perf_counter(), time.process_time()
        explanation_of(task)
        wall_s.append(time.perf_counter() - begin_s)
        cpu_s.append(time.process_time() - cpu_begin_s)
    return median(wall_s), median(cpu_s)
