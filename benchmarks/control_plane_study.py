"""What coordination costs, from CPU seconds of an idle and of a working fleet. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AIM_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """CPU seconds that processes took during some wall seconds."""

    wall_s: float
    coordinator_s: float
    daemons_s: tuple[float, ...]

    @property
    def cpu_s(self) -> float:
        """Of all of them."""
        return self.coordinator_s + sum(self.daemons_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneCost:
    """What coordination costs.

    Attributes:
        idle: a fleet without jobs: heartbeats, keep-alive and ticks.
        work: the same fleet while jobs run one after the other.
        jobs: how many.
        denoise_s: wall seconds of all steps, summed over the jobs.
        rest_s: wall seconds of the jobs beyond encoding, denoising and decoding, summed: queue, plan, gRPC, chunks.
        coordinator_job_s: CPU seconds of the coordinator a job, idling subtracted.
        daemons_job_s: the same of all daemons together.
        share_of_denoising: CPU seconds of coordinator and daemons over denoising seconds, idling subtracted.
        share_of_devices: the same over denoising seconds times devices, that is of the computing time at hand.
        idle_share_of_core: CPU seconds a second of an idle fleet.
    """

    idle: Interval
    work: Interval
    jobs: int
    denoise_s: float
    rest_s: float
    coordinator_job_s: float
    daemons_job_s: float
    share_of_denoising: float
    share_of_devices: float
    idle_share_of_core: float

    def lines(self) -> tuple[str, ...]:
        """For a terminal."""
        coordinator_ms, daemons_ms = self.coordinator_job_s * 1e3, self.daemons_job_s * 1e3
        return (
            f"{self.jobs} jobs, {self.denoise_s / self.jobs:.3f} s of denoising each",
            f"CPU a job, idling subtracted: coordinator {coordinator_ms:.1f} ms, daemons together {daemons_ms:.1f} ms",
            f"share of denoising time {self.share_of_denoising:.2%}, of the devices' time {self.share_of_devices:.2%}",
            f"an idle fleet takes {self.idle_share_of_core:.2%} of a core",
            f"beyond encoding, denoising and decoding a job takes {self.rest_s / self.jobs * 1e3:.0f} ms",
        )


def cost_of(
    idle: Interval, work: Interval, *, denoise_s: Sequence[float], computing_s: Sequence[float], devices: int
) -> ControlPlaneCost:
    """Puts two intervals and the jobs' reports together.

    Args:
        idle: without jobs.
        work: from the first job's request to the last one's end.
        denoise_s: wall seconds of all steps, a job each.
        computing_s: of encoding, denoising and decoding, a job each.
        devices: that denoise.
    """
    jobs, total_denoise_s = len(denoise_s), sum(denoise_s)
    share_of_wall = work.wall_s / idle.wall_s
    coordinator_s = work.coordinator_s - idle.coordinator_s * share_of_wall
    daemons_s = sum(work.daemons_s) - sum(idle.daemons_s) * share_of_wall
    active_s = max(0.0, coordinator_s + daemons_s)
    return ControlPlaneCost(
        idle=idle,
        work=work,
        jobs=jobs,
        denoise_s=total_denoise_s,
        rest_s=work.wall_s - sum(computing_s),
        coordinator_job_s=coordinator_s / jobs,
        daemons_job_s=daemons_s / jobs,
        share_of_denoising=active_s / total_denoise_s,
        share_of_devices=active_s / (total_denoise_s * devices),
        idle_share_of_core=idle.cpu_s / idle.wall_s,
    )
