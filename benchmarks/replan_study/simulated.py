"""The ways of the study in virtual time: the product's own decisions on devices that exist as numbers only. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from latency_study.variants import Measured

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.facts import DeviceKind, ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Link, Workload
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.speed_course import OWN_SPEED, SpeedCourse
from polyrhythm_coordinator.simulation.report.outcome import Outcome, simulate
from replan_study.plans import ORACLES, Way, oracle_at_once, oracle_from_start
from replan_study.scenarios import Scenario

FIXED_SHARE = 0.05
"""Of a forward of the whole picture, whatever the rows."""
LINK = Link(latency_s=1e-4, bytes_per_s=2e9)
STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRow:
    """One load on one fleet; every figure is simulated.

    Attributes:
        scenario: devices, load and moment.
        step_s: seconds of a forward of the whole picture on a device of speed 1.
        undisturbed_s: denoising without any load.
        denoise_s: by way.
        takeovers: fine steps at which newer plans took over.
    """

    scenario: Scenario
    step_s: float
    undisturbed_s: float
    denoise_s: Mapping[Way, float]
    takeovers: tuple[int, ...]

    def to_oracle(self, way: Way) -> float:
        """A way's seconds over those of the faster oracle."""
        return self.denoise_s[way] / min(self.denoise_s[oracle] for oracle in ORACLES)


def simulated_row(scenario: Scenario, facts: ModelFacts, *, step_s: float) -> SimulatedRow:
    """Makes the picture in all ways, and once without a load.

    Args:
        scenario: devices, load and moment.
        facts: of the model, at its default size.
        step_s: seconds of a forward of the whole picture on a device of speed 1.
    """
    request = ImageRequest(prompt="simulated", steps=STEPS, sampler=Sampler.DDIM, quality=Quality.BALANCED, seed=1)
    free = simulate(_fleet(scenario, facts, step_s, OWN_SPEED), request)
    undisturbed_s = free.reports[0].denoise_s
    begin_s = free.total_s - undisturbed_s - free.reports[0].decode_s
    course = SpeedCourse(changes=((begin_s + scenario.moment * undisturbed_s, 1 - scenario.load.share),))
    fleet = _fleet(scenario, facts, step_s, course)
    explanation = free.explanations[0]
    first, loaded = explanation.chosen.plan, _loaded(scenario, free, facts)
    image = resolve(request, facts, seed=1)
    plans = {
        Way.NO_REPLAN: first,
        Way.REPLAN: None,
        Way.AT_ONCE: oracle_at_once(first, loaded, image, scenario.moment),
        Way.FROM_START: oracle_from_start(loaded, image),
    }
    outcomes = {way: simulate(fleet, replace(request, plan=plan)) for way, plan in plans.items()}
    return SimulatedRow(
        scenario=scenario,
        step_s=step_s,
        undisturbed_s=undisturbed_s,
        denoise_s={way: outcome.reports[0].denoise_s for way, outcome in outcomes.items()},
        takeovers=tuple(replan.begin_step for replan in outcomes[Way.REPLAN].replans),
    )


def as_json(rows: Sequence[SimulatedRow], *, seed: str) -> dict[str, object]:
    """The result file."""
    return {
        "simulated": True,
        "seed": seed,
        "steps": STEPS,
        "rows": [
            {
                "load": row.scenario.name,
                "step_s": row.step_s,
                "undisturbed_s": row.undisturbed_s,
                "denoise_s": {str(way): seconds for way, seconds in row.denoise_s.items()},
                "replan_to_oracle": row.to_oracle(Way.REPLAN),
                "no_replan_to_oracle": row.to_oracle(Way.NO_REPLAN),
                "load_step": row.scenario.moment * STEPS,
                "takeovers": row.takeovers,
            }
            for row in rows
        ],
    }


def simulated_page(rows: Sequence[SimulatedRow]) -> str:
    """A table in markdown."""
    lines = [
        "Every figure is simulated. Seconds of denoising over those of the faster oracle.",
        "",
        "| load | step, s | re-plan | no re-plan | load from step | taken over at step |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.scenario.name} | {row.step_s:g} "
        f"| {row.to_oracle(Way.REPLAN):.3f} | {row.to_oracle(Way.NO_REPLAN):.3f} "
        f"| {row.scenario.moment * STEPS:.1f} | {', '.join(map(str, row.takeovers)) or 'never'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _fleet(scenario: Scenario, facts: ModelFacts, step_s: float, course: SpeedCourse) -> FleetDescription:
    """Devices of the scenario's speeds, one of which gets a load."""
    rows = facts.default_height_px / facts.row_unit_px
    devices = tuple(
        DeviceDescription(
            agent=AgentId(f"agent-{index}"),
            fixed_s=FIXED_SHARE * step_s / speed,
            per_row_s=(1 - FIXED_SHARE) * step_s / rows / speed,
            encode_s=0.01,
            decode_s=0.05,
            kind=DeviceKind.CPU,
            course=course if index == scenario.load.device else OWN_SPEED,
        )
        for index, speed in enumerate(scenario.speeds)
    )
    size = Workload(model=facts.name, width_px=facts.default_width_px, height_px=facts.default_height_px, batch=2)
    return FleetDescription(facts=facts, workload=size, devices=devices, default_link=LINK)


def _loaded(scenario: Scenario, free: Outcome, facts: ModelFacts) -> Measured:
    """What profiles that were measured under the load would say."""
    share, profiles = scenario.load.share, free.explanations[0].profiles
    slower = AgentId(f"agent-{scenario.load.device}")
    under_load = tuple(
        replace(profile, fixed_s=profile.fixed_s / (1 - share), per_row_s=profile.per_row_s / (1 - share))
        if profile.agent == slower
        else profile
        for profile in profiles
    )
    links = dict.fromkeys(permutations((profile.agent for profile in profiles), 2), LINK)
    return Measured(facts=facts, profiles=under_load, links=links)
