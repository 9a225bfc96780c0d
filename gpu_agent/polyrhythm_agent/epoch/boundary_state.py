"""The state of a picture at a boundary: everything a survivor needs to go on from there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from polyrhythm.ids import JobId
from polyrhythm.plan.plan import Beat

HELD_BOUNDARIES = 2
"""Members are never more than one boundary apart, so two are enough for a common one."""

NO_HISTORY = -1
"""History step of a row that was never predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryState:
    """All rows of a picture at a boundary.

    Attributes:
        step: fine steps behind it.
        x_BCHW: the noisy latent ``(1, C, H, W)``, state dtype.
        x0_BCHW: the last predicted clean latent of every row, same shape.
        history_steps: a row unit each, the fine step of that prediction, or ``NO_HISTORY``.
    """

    step: int
    x_BCHW: Tensor
    x0_BCHW: Tensor
    history_steps: tuple[int, ...]


def history_after(beat: Beat, history_steps: tuple[int, ...]) -> tuple[int, ...]:
    """History steps of all rows at the boundary that ends a beat: each owner's last active step in it."""
    after = list(history_steps)
    for assignment in beat.segment.assignments:
        active = beat.active_steps(assignment.agent)
        for row in range(assignment.rows.begin, assignment.rows.end):
            after[row] = active[-1]
    return tuple(after)


class JobMemory:
    """What a worker keeps of a job between epochs: embeddings and the last two boundaries. One thread only."""

    def __init__(self, *, jobs_max: int = 4) -> None:
        self._jobs_max = jobs_max
        self._conditions: OrderedDict[JobId, Mapping[str, Tensor]] = OrderedDict()
        self._states: OrderedDict[JobId, OrderedDict[int, BoundaryState]] = OrderedDict()

    def remember_condition(self, job: JobId, condition: Mapping[str, Tensor]) -> None:
        """Keeps a job's embeddings."""
        self._conditions[job] = condition
        self._trim(self._conditions)

    def condition(self, job: JobId) -> Mapping[str, Tensor] | None:
        """A job's embeddings, if they are held."""
        return self._conditions.get(job)

    def remember_state(self, job: JobId, state: BoundaryState) -> None:
        """Keeps a boundary and lets the one before the last go. A boundary at or before a held one replaces it."""
        states = self._states.setdefault(job, OrderedDict())
        for step in [step for step in states if step >= state.step]:
            del states[step]
        states[state.step] = state
        while len(states) > HELD_BOUNDARIES:
            states.popitem(last=False)
        self._trim(self._states)

    def state(self, job: JobId, step: int) -> BoundaryState:
        """A held boundary.

        Raises:
            KeyError: it is not held.
        """
        return self._states[job][step]

    def held_boundaries(self, job: JobId) -> tuple[int, ...]:
        """Steps of the held boundaries, ascending."""
        return tuple(self._states.get(job, ()))

    def forget(self, job: JobId) -> None:
        """Drops everything of a job."""
        self._conditions.pop(job, None)
        self._states.pop(job, None)

    def _trim(self, kept: OrderedDict[JobId, Any]) -> None:
        while len(kept) > self._jobs_max:
            kept.popitem(last=False)
