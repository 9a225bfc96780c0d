"""What every member of a gang says to all others at a boundary, and how it travels: as numbers in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass

from polyrhythm_agent.ports.step_judge import StepVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """One member's word at a boundary.

    Attributes:
        boundary_step: fine steps behind the member; the same for all.
        newest_version: newest plan that it holds.
        cancelled: whether it asks all to stop here.
        verdict: on the steps behind it.
    """

    boundary_step: int
    newest_version: int
    cancelled: bool = False
    verdict: StepVerdict = StepVerdict.ACCEPTED

    def to_int64(self) -> tuple[int, ...]:
        """The record as it travels."""
        return self.boundary_step, self.newest_version, int(self.cancelled), int(self.verdict)

    @classmethod
    def from_int64(cls, numbers: tuple[int, ...]) -> ControlRecord:
        """The record that some numbers are.

        Raises:
            ValueError: they are none.
        """
        if len(numbers) != 4:
            raise ValueError(f"a control record is 4 numbers, got {len(numbers)}")
        boundary_step, newest_version, cancelled, verdict = numbers
        return cls(
            boundary_step=boundary_step,
            newest_version=newest_version,
            cancelled=bool(cancelled),
            verdict=StepVerdict(verdict),
        )
