"""Measured profiles and how later measurements refine them. Pure.

Owns what a profile is valid for, and the rule that a plan changes only when a device has really changed its speed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from polyrhythm.facts import DeviceFacts, ModelFacts
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageSpec
from polyrhythm.profile import Profile, Workload

SMOOTHING = 0.1
"""Weight of a new beat in the moving average. The first beats weigh more, so that a bad profile is soon made good."""
PROFILE_BEATS = 2
"""How many beats the profile itself counts for."""
HYSTERESIS = 0.05
"""The average must leave the scale in use by this share before plans see it, so that plans do not flap."""
RATIO_MIN, RATIO_MAX = 0.2, 5.0
"""A beat outside of this band says more about the beat than about the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileKey:
    """What a measured profile is valid for: the device as it runs now, the software, the weights and the size."""

    device_uuid: str
    emulated_speed: float | None
    software: tuple[tuple[str, str], ...]
    fingerprint: str
    dtype: str
    offloaded: bool
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProfile:
    """A profile and what later beats say about it.

    Attributes:
        measured: as the agent measured it.
        beats: how many of them there were.
        average: moving average of measured over predicted time.
        scale: that average as plans see it.
    """

    measured: Profile
    beats: int = 0
    average: float = 1.0
    scale: float = 1.0

    def refined(self, rows: int, active_steps: int, own_s: float) -> MeasuredProfile:
        """Takes one beat into account.

        Args:
            rows: row units that the agent held.
            active_steps: forwards that it ran.
            own_s: seconds that it took for them: wall seconds less those that it waited for others. The profile was
                measured in wall seconds too; CPU time would not show what else runs on the device.
        """
        predicted_s = active_steps * self.measured.forward_s(rows)
        if predicted_s <= 0 or not RATIO_MIN <= own_s / predicted_s <= RATIO_MAX:
            return self
        weight = max(SMOOTHING, 1 / (PROFILE_BEATS + self.beats + 1))
        average = (1 - weight) * self.average + weight * own_s / predicted_s
        scale = average if abs(average / self.scale - 1) > HYSTERESIS else self.scale
        return replace(self, beats=self.beats + 1, average=average, scale=scale)

    def moved_to(self, scale: float) -> MeasuredProfile:
        """The same for a device that has changed its speed in a moment: later beats go on from there."""
        return replace(self, average=scale, scale=scale)

    def for_agent(self, agent: AgentId) -> Profile:
        """The profile as plans see it, under the agent's present name."""
        return replace(
            self.measured,
            agent=agent,
            fixed_s=self.measured.fixed_s * self.scale,
            per_row_s=self.measured.per_row_s * self.scale,
        )


def workload_of(image: ImageSpec) -> Workload:
    """What has to be measured for a picture: its size, with both halves of the guidance in one batch.

    A denoiser that is told the guidance runs once in either case, and is measured so under both.
    """
    return Workload(
        model=image.model, width_px=image.width_px, height_px=image.height_px, batch=2 if image.guidance > 1 else 1
    )


def profile_key(
    device: DeviceFacts, software: tuple[tuple[str, str], ...], facts: ModelFacts, workload: Workload
) -> ProfileKey:
    """Under which a profile is kept."""
    return ProfileKey(
        device_uuid=device.uuid,
        emulated_speed=device.emulated_speed,
        software=software,
        fingerprint=facts.fingerprint,
        dtype=facts.dtype,
        offloaded=facts.offloaded,
        workload=workload,
    )
