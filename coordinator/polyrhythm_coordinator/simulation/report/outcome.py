"""The account of a simulation: pictures, devices, re-plans and the timeline, as data and as one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageCompleted, ImagePlanned, ImageReplanned
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.reports import JobReport
from polyrhythm.job.request_checks import resolve
from polyrhythm.plan.explanation import Exclusion, Explanation
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.simulation.engine.timeline import Activity, Mark, Occasion, Span
from polyrhythm_coordinator.simulation.engine.world import SEED, World
from polyrhythm_coordinator.simulation.fleet_files.description import FleetDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTotals:
    """One device over the whole simulation, work that was lost included.

    Attributes:
        agent: which.
        compute_s: denoising.
        wait_s: at work on a picture, and waiting for others.
        encode_s: encoding prompts.
        decode_s: decoding pictures.
        utilisation: share of the whole time that it computes, encodes or decodes.
        steps: forwards begun.
        sent_bytes: payload, as reported with the beats.
    """

    agent: AgentId
    compute_s: float
    wait_s: float
    encode_s: float
    decode_s: float
    utilisation: float
    steps: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """A picture's course was changed."""

    at_s: float
    image_index: int
    reason: str
    begin_step: int
    agents: tuple[AgentId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a simulation.

    Attributes:
        image: the first picture, defaults filled in.
        count: pictures asked for.
        total_s: virtual seconds from the request to the last picture, or to the failure.
        error: why it failed; empty where it did not.
        explanations: of each picture's first plan.
        reports: of each picture that was made.
        replans: in order.
        devices: in the order of the file.
        exclusions: devices that take no part in the first plan.
        spans: who did what when.
        marks: what happened when.
        notices: what the user should know of the figures.
    """

    image: ImageSpec
    count: int
    total_s: float
    error: str
    explanations: tuple[Explanation, ...]
    reports: tuple[JobReport, ...]
    replans: tuple[Replan, ...]
    devices: tuple[DeviceTotals, ...]
    exclusions: tuple[Exclusion, ...]
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    notices: tuple[str, ...]

    @property
    def losses(self) -> tuple[Mark, ...]:
        """Devices that left before the end."""
        return tuple(mark for mark in self.marks if mark.occasion in {Occasion.LOSS, Occasion.DEATH})


def simulate(
    fleet: FleetDescription, request: ImageRequest, *, planner: Callable[[PlanTask], Explanation] = explanation_of
) -> Outcome:
    """Makes pictures on a described fleet, in virtual time.

    Args:
        fleet: as described.
        request: the pictures.
        planner: answers plan tasks; anything but the real search is for tests and measurements.

    Raises:
        InvalidArgumentError: the model cannot make such a picture.
    """
    image = resolve(request, fleet.facts, SEED)
    world = World(fleet, planner=planner)
    world.run(request)
    explanations = tuple(event.explanation for _, event in world.told if isinstance(event, ImagePlanned))
    reports = tuple(event.report for _, event in world.told if isinstance(event, ImageCompleted))
    total_s = world.ended_s or 0.0
    return Outcome(
        image=image,
        count=request.count,
        total_s=total_s,
        error="" if world.error is None else str(world.error),
        explanations=explanations,
        reports=reports,
        replans=tuple(
            Replan(
                at_s=at_s,
                image_index=event.image_index,
                reason=event.reason,
                begin_step=event.begin_step,
                agents=event.plan.agents,
            )
            for at_s, event in world.told
            if isinstance(event, ImageReplanned)
        ),
        devices=tuple(_totals(device.agent, world.timeline.spans, reports, total_s) for device in fleet.devices),
        exclusions=explanations[0].exclusions if explanations else (),
        spans=world.timeline.spans,
        marks=world.timeline.marks,
        notices=_notices(fleet, image),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """The same pictures by one device.

    Attributes:
        agent: the fastest that makes them.
        total_s: virtual seconds from the request to the last picture.
    """

    agent: AgentId
    total_s: float


def fastest_alone(fleet: FleetDescription, request: ImageRequest) -> Alone | None:
    """What the fastest single device would take, under the load that the file describes for it.

    Devices are tried in order of their seconds for a whole forward until one makes all pictures.

    Returns:
        None where no device is there from the start that makes them alone.
    """
    image = resolve(request, fleet.facts, SEED)
    rows = fleet.facts.row_count(image.height_px)
    present = [device for device in fleet.devices if not device.joins_at_s]
    for device in sorted(present, key=lambda device: fleet.profile(device, image).forward_s(rows, alone=True)):
        outcome = simulate(replace(fleet, devices=(device,), links={}), request)
        if not outcome.error:
            return Alone(agent=device.agent, total_s=outcome.total_s)
    return None


def as_json(outcome: Outcome, alone: Alone | None = None) -> dict[str, Any]:
    """One JSON object; every figure in it is simulated.

    Args:
        outcome: of the fleet.
        alone: what the fastest device of it would take.
    """
    return {
        "simulated": True,
        "picture": {
            "width_px": outcome.image.width_px,
            "height_px": outcome.image.height_px,
            "steps": outcome.image.steps,
            "quality": outcome.image.quality,
            "sampler": outcome.image.sampler,
            "guidance": outcome.image.guidance,
            "count": outcome.count,
        },
        "error": outcome.error or None,
        "total_s": outcome.total_s,
        "alone": None if alone is None else {**asdict(alone), "to_fleet": alone.total_s / outcome.total_s},
        "pictures": [_picture(report, outcome) for report in outcome.reports],
        "replans": [asdict(replan) for replan in outcome.replans],
        "devices": [asdict(device) for device in outcome.devices],
        "exclusions": [asdict(exclusion) for exclusion in outcome.exclusions],
        "notices": list(outcome.notices),
        "timeline": {
            "spans": [asdict(span) for span in outcome.spans],
            "marks": [asdict(mark) for mark in outcome.marks],
        },
    }


def _picture(report: JobReport, outcome: Outcome) -> dict[str, Any]:
    explanation = outcome.explanations[report.image_index]
    return {
        "image_index": report.image_index,
        "label": explanation.chosen.label,
        "encode_s": report.encode_s,
        "denoise_s": report.denoise_s,
        "decode_s": report.decode_s,
        "predicted_denoise_s": report.predicted_denoise_s,
        "plans": [asdict(plan) for plan in report.plans],
        "agents": [asdict(usage) for usage in report.agents],
    }


def _totals(agent: AgentId, spans: tuple[Span, ...], reports: tuple[JobReport, ...], total_s: float) -> DeviceTotals:
    own = [span for span in spans if span.agent == agent]
    seconds = {
        activity: sum(span.end_s - span.begin_s for span in own if span.activity is activity) for activity in Activity
    }
    worked_s = sum(seconds.values()) - seconds[Activity.WAIT]
    return DeviceTotals(
        agent=agent,
        compute_s=seconds[Activity.COMPUTE],
        wait_s=seconds[Activity.WAIT],
        encode_s=seconds[Activity.ENCODE],
        decode_s=seconds[Activity.DECODE],
        utilisation=worked_s / total_s if total_s else 0.0,
        steps=sum(span.activity is Activity.COMPUTE for span in own),
        sent_bytes=sum(usage.sent_bytes for report in reports for usage in report.agents if usage.agent == agent),
    )


def _notices(fleet: FleetDescription, image: ImageSpec) -> tuple[str, ...]:
    wanted, base = workload_of(image), fleet.workload
    if wanted == base:
        return ()
    told = (
        f"costs are described for {base.width_px}x{base.height_px} px, batch {base.batch}, and scaled to "
        f"{wanted.width_px}x{wanted.height_px} px, batch {wanted.batch}: a row by its tokens, decoding by pixels"
    )
    return (told,)
