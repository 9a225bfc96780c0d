"""Fleets of one size and interconnect taken together, and set beside the aims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from scaling_study.fleets import Interconnect
from scaling_study.measure import FleetResult

FIRST_PLAN_AIM_S = 0.5
REPLAN_AIM_S = 0.02
AIM_AGENTS = 64
"""The aims hold for so many agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSummary:
    """Medians over the fleets of one size, with the worst of what has an aim."""

    interconnect: Interconnect
    agents: int
    plan_s: float
    plan_worst_s: float
    replan_s: float
    replan_worst_s: float
    plan_cpu_s: float
    replan_cpu_s: float
    members: float
    denoise_s: float
    of_solo: float
    of_solo_worst: float
    prediction_error: float
    utilisation: float
    simulation_s: float


def summarise(results: Sequence[FleetResult]) -> tuple[SizeSummary, ...]:
    """One row a size and interconnect, in the order in which they were measured."""
    groups: dict[tuple[Interconnect, int], list[FleetResult]] = {}
    for result in results:
        groups.setdefault((result.interconnect, result.agents), []).append(result)
    return tuple(_row(*key, held) for key, held in groups.items())


def lines(summary: Sequence[SizeSummary]) -> Iterator[str]:
    """The table for people, then the aims."""
    yield "links   agents  plan ms  (CPU)  re-plan ms  (CPU)  members  denoise s  / solo  predicted  busy"
    for row in summary:
        yield (
            f"{row.interconnect:<7} {row.agents:>6}  {row.plan_s * 1e3:>7.1f} {row.plan_cpu_s * 1e3:>6.0f}  "
            f"{row.replan_s * 1e3:>10.1f} {row.replan_cpu_s * 1e3:>6.0f}  "
            f"{row.members:>7.0f}  {row.denoise_s:>9.2f}  {row.of_solo:>6.3f}  {row.prediction_error:>+9.1%}  "
            f"{row.utilisation:>4.0%}"
        )
    largest = [row for row in summary if row.agents == AIM_AGENTS]
    for name, aim_s, worst_s in (
        ("first plan", FIRST_PLAN_AIM_S, max((row.plan_worst_s for row in largest), default=None)),
        ("re-plan", REPLAN_AIM_S, max((row.replan_worst_s for row in largest), default=None)),
    ):
        if worst_s is not None:
            verdict = "met" if worst_s < aim_s else "not met"
            found = f"{worst_s * 1e3:.1f} ms; aim {aim_s * 1e3:g} ms: {verdict}"
            yield f"{name} of {AIM_AGENTS} agents, worst fleet: {found}"


def _row(interconnect: Interconnect, agents: int, held: Sequence[FleetResult]) -> SizeSummary:
    of_solo = [result.denoise_s / result.solo_s for result in held]
    return SizeSummary(
        interconnect=interconnect,
        agents=agents,
        plan_s=median(result.plan_s for result in held),
        plan_worst_s=max(result.plan_s for result in held),
        replan_s=median(result.replan_s for result in held),
        replan_worst_s=max(result.replan_s for result in held),
        plan_cpu_s=median(result.plan_cpu_s for result in held),
        replan_cpu_s=median(result.replan_cpu_s for result in held),
        members=median(result.members for result in held),
        denoise_s=median(result.denoise_s for result in held),
        of_solo=median(of_solo),
        of_solo_worst=max(of_solo),
        prediction_error=median(result.predicted_s / result.denoise_s - 1.0 for result in held),
        utilisation=median(result.utilisation for result in held),
        simulation_s=median(result.simulation_s for result in held),
    )
