"""Measured profiles and how later measurements refine them. Pure.

Owns what a profile is valid for, and the rule that a plan changes only when a device has really changed its speed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import DeviceFacts, ModelFacts, SoftwareVersion
from polyrhythm.plan.profile import ForwardLine, Profile, Workload

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
    software: tuple[SoftwareVersion, ...]
    fingerprint: str
    dtype: str
    offloaded: bool
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLine:
    """Seconds of forwards as measured, and what later beats say about them.

    Attributes:
        measured: as the agent measured it.
        beats: how many of them there were.
        average: moving average of measured over predicted time.
        scale: that average as plans see it.
    """

    measured: ForwardLine
    beats: int = 0
    average: float = 1.0
    scale: float = 1.0

    @property
    def line(self) -> ForwardLine:
        """As plans see it."""
        return self.measured.scaled(self.scale)

    def refined(self, rows: int, active_steps: int, own_s: float) -> MeasuredLine:
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

    def moved_to(self, seen: ForwardLine) -> MeasuredLine:
        """The same for a device that has changed its speed in a moment."""
        scale = seen.per_row_s / self.measured.per_row_s
        return replace(self, average=scale, scale=scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProfile:
    """A profile and what later beats say about it.

    Attributes:
        measured: as the agent measured it, with the seconds of forwards alone.
        alone: of its forwards while the other agents of its host rest.
        together: while they work too; None where there were none, or nothing has been measured yet.
        jitter: as measured last.
    """

    measured: Profile
    alone: MeasuredLine
    together: MeasuredLine | None = None
    jitter: float = 0.0

    def measured_together(self, profile: Profile) -> MeasuredProfile:
        """The same with what was measured while all agents of the host worked."""
        return replace(self, together=MeasuredLine(measured=profile.together), jitter=profile.jitter)

    def refined(self, rows: int, active_steps: int, own_s: float, *, alone: bool) -> MeasuredProfile:
        """Takes one beat into account; see ``MeasuredLine``.

        Args:
            rows: row units that the agent held.
            active_steps: forwards that it ran.
            own_s: seconds that it took for them.
            alone: whether no other agent of its host worked.
        """
        if alone or self.together is None:
            line = self.alone.refined(rows, active_steps, own_s)
            return self if line is self.alone else replace(self, alone=line)
        line = self.together.refined(rows, active_steps, own_s)
        return self if line is self.together else replace(self, together=line)

    def moved_to(self, seen: Profile) -> MeasuredProfile:
        """The same for a device that has changed its speed in a moment: later beats go on from there."""
        together = self.together and self.together.moved_to(seen.together)
        return replace(self, alone=self.alone.moved_to(seen.line(alone=True)), together=together)

    def line_moved_to(self, seen: ForwardLine, *, alone: bool) -> MeasuredProfile:
        """The same for a device at whose side others have begun or ended working: that says nothing of the other line.

        Args:
            seen: seconds of its forwards since then.
            alone: whether nobody else of its host works now.
        """
        if alone:
            return replace(self, alone=self.alone.moved_to(seen))
        return self if self.together is None else replace(self, together=self.together.moved_to(seen))

    def for_agent(self, agent: AgentId, host: str = "") -> Profile:
        """The profile as plans see it, under the agent's present name and host."""
        alone, together = self.alone.line, self.together and self.together.line
        shown = together or alone
        return replace(
            self.measured,
            agent=agent,
            host=host,
            fixed_s=shown.fixed_s,
            per_row_s=shown.per_row_s,
            alone=None if together is None else alone,
            jitter=self.jitter,
        )


def measured_alone(profile: Profile, *, beside_work: bool = False) -> MeasuredProfile:
    """What an agent has measured first.

    Args:
        profile: as measured.
        beside_work: whether others of its host worked meanwhile: then it is the best guess for both.
    """
    line = MeasuredLine(measured=profile.together)
    together = line if beside_work else None
    return MeasuredProfile(measured=profile, alone=line, together=together, jitter=profile.jitter)


def workload_of(image: ImageSpec) -> Workload:
    """What has to be measured for a picture: its size, with both halves of the guidance in one batch.

    A denoiser that is told the guidance runs once in either case, and is measured so under both.
    """
    return Workload(
        model=image.model, width_px=image.width_px, height_px=image.height_px, batch=2 if image.guidance > 1 else 1
    )


def profile_key(
    device: DeviceFacts, software: tuple[SoftwareVersion, ...], facts: ModelFacts, workload: Workload
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
