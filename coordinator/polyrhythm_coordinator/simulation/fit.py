"""Describes a fleet from one real run. Pure; ``fleet_text`` writes the result down.

Per device: both lines of the profile that the plan rested on, scaled alike to the computing that the run measured of
whichever its segments followed; and what an active step
takes beside computing and waiting, ``(denoise_s - busy_s - wait_s) / steps``, less what handling messages is known to
take. Links are taken as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.reports import JobReport
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.profile import Link, Profile
from polyrhythm_coordinator.scheduling.planning.forecast import segment_forward_s
from polyrhythm_coordinator.scheduling.planning.plan_request import UNMEASURED_LINK
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, DeviceOrigin, FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.run_report import RunAgent, RunReport
from polyrhythm_coordinator.simulation.report.outcome import simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A described fleet and how well it repeats the run that it comes from.

    Attributes:
        fleet: as described.
        measured_s: denoising seconds of the run.
        simulated_s: of the same plan on the described fleet.
        notices: what the run did not tell.
    """

    fleet: FleetDescription
    measured_s: float
    simulated_s: float
    notices: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line."""
        error = self.simulated_s / self.measured_s - 1.0
        return (
            f"{len(self.fleet.devices)} devices; the run denoised in {self.measured_s:.3f} s, the described fleet "
            f"follows its plan in {self.simulated_s:.3f} s ({error:+.1%})"
        )


def fit_fleet(report: RunReport) -> Fit:
    """Describes the fleet of a run.

    Raises:
        InvalidArgumentError: the run's plan cannot be followed on the described fleet.
    """
    agents = {agent.agent: agent for agent in report.agents}
    devices = tuple(_device(profile, agents.get(profile.agent), report) for profile in report.measured.profiles)
    notices = [
        f"{device.agent} took no part: its cost is its profile, which no run confirms"
        for device in devices
        if device.agent not in agents
    ]
    if not report.measured.links and len(devices) > 1:
        notices.append(
            "the report names no measured link, so an assumed one is used; links are known from the second picture of "
            "a gang on: fit a report of `polyrhythm generate --count 2 --json` or, where each device made one, the "
            "second of two reports of a fleet that `polyrhythm up` keeps"
        )
    links = {(held.sender, held.receiver): held.link for held in report.measured.links}
    fleet = FleetDescription(
        facts=report.measured.model,
        workload=report.measured.profiles[0].workload,
        devices=devices,
        default_link=_typical(tuple(links.values())),
        links=links,
    )
    without = {usage.agent: usage.busy_s for usage in _followed(fleet, report).agents}
    rest = {name: _rest_s(agent, report, without[AgentId(name)]) for name, agent in agents.items() if agent.steps}
    fleet = replace(
        fleet, devices=tuple(replace(device, step_overhead_s=rest.get(device.agent, 0.0)) for device in devices)
    )
    simulated_s = _followed(fleet, report).denoise_s
    return Fit(fleet=fleet, measured_s=report.seconds.denoise, simulated_s=simulated_s, notices=tuple(notices))


def _followed(fleet: FleetDescription, report: RunReport) -> JobReport:
    """The run's plan on a described fleet.

    Raises:
        InvalidArgumentError: it cannot be followed there.
    """
    outcome = simulate(fleet, _request(report))
    if not outcome.reports:
        raise InvalidArgumentError.of("fit", f"the run's plan cannot be followed on the fleet: {outcome.error}")
    return outcome.reports[0]


def _device(profile: Profile, agent: RunAgent | None, report: RunReport) -> DeviceDescription:
    """Costs as measured in the run, overhead left out."""
    predicted_s = _predicted_busy_s(profile, report)
    scale = agent.busy_s / predicted_s if agent is not None and predicted_s > 0 and agent.busy_s > 0 else 1.0
    description = DeviceDescription(
        agent=AgentId(profile.agent),
        alone=profile.alone and profile.alone.scaled(scale),
        fixed_s=profile.fixed_s * scale,
        per_row_s=profile.per_row_s * scale,
        encode_s=profile.encode_s,
        decode_s=profile.decode_s,
    )
    told = next((device for device in report.measured.devices if device.agent == profile.agent), None)
    if told is None:
        return description
    origin = DeviceOrigin(card=told.card, host=told.host, dtype=told.dtype, emulated_speed=told.emulated_speed)
    return replace(description, kind=told.kind, memory_bytes=told.memory_bytes, origin=origin)


def _predicted_busy_s(profile: Profile, report: RunReport) -> float:
    """Of the whole plan: alone on its host where no other device of it holds rows, else beside those."""
    profiles = {AgentId(each.agent): each for each in report.measured.profiles}
    agent = AgentId(profile.agent)
    return sum(
        segment.step_count // segment.of(agent).stride * segment_forward_s(agent, segment, profiles)
        for segment in report.segments
        if agent in segment.agents
    )


def _rest_s(agent: RunAgent, report: RunReport, simulated_busy_s: float) -> float:
    """What an active step took beside computing and waiting; handling messages, which the simulator adds, taken off."""
    handling_s = max(0.0, simulated_busy_s - agent.busy_s)
    return max(0.0, (report.seconds.denoise - agent.busy_s - agent.wait_s - handling_s) / agent.steps)


def _request(report: RunReport) -> ImageRequest:
    """The picture of the run, by the plan that it followed."""
    members = report.segments[0].agents
    try:
        plan = Plan(
            version=1,
            begin_step=0,
            steps=report.steps,
            segments=report.segments,
            encoder=members[0],
            decoder=members[0],
        )
    except ValueError as error:
        raise InvalidArgumentError.of("fit", f"segments: {error}") from error
    return ImageRequest(
        prompt="fitted",
        width_px=report.width_px,
        height_px=report.height_px,
        steps=report.steps,
        guidance=report.guidance,
        sampler=report.sampler,
        quality=report.quality,
        plan=plan,
    )


def _typical(links: tuple[Link, ...]) -> Link:
    if not links:
        return UNMEASURED_LINK
    return Link(
        latency_s=median(link.latency_s for link in links),
        bytes_per_s=median(link.bytes_per_s for link in links),
        handling_s=median(link.handling_s for link in links),
        handling_s_per_byte=median(link.handling_s_per_byte for link in links),
    )
