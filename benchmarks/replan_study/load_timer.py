"""Begins a load at a moment of a running picture. Owns the moment; reads it off the job's events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned, ImageProgressed, ImageReplanned, JobEvent
from polyrhythm.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A new plan in mid-image.

    Attributes:
        after_s: seconds from the begin of the load until the client was told that the plan is followed; negative if
            it came before the load.
        begin_step: from which on it is followed.
        reason: why it was made.
        agents: its gang.
    """

    after_s: float
    begin_step: int
    reason: str
    agents: tuple[AgentId, ...]


class LoadTimer:
    """Takes a job's events; begins the load when the denoising has gone on for a time.

    The first report of progress tells when the denoising began: so many predicted steps before.

    Args:
        begin: begins the load.
        moment: share of the first plan's predicted denoising time.
        after_s: seconds from the first step on; None for the moment's share of the prediction that the job brings.
    """

    def __init__(self, begin: Callable[[], None], *, moment: float, after_s: float | None = None) -> None:
        self.after_s = after_s
        self.begun_s: float | None = None
        self.first_plan: Plan | None = None
        self.reactions: list[Reaction] = []
        self._begin = begin
        self._moment = moment
        self._step_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def note(self, event: JobEvent) -> None:
        """Takes one event."""
        match event:
            case ImagePlanned(explanation=explanation):
                chosen = explanation.chosen
                self.first_plan = chosen.plan
                self._step_s = chosen.prediction.denoise_s / chosen.plan.steps
                self.after_s = self.after_s or self._moment * chosen.prediction.denoise_s
            case ImageProgressed(step=step) if step > 0 and self._timer is None and self.after_s is not None:
                due_s = self._loop.time() - step * self._step_s + self.after_s
                self._timer = self._loop.call_at(due_s, self._begin_now)
            case ImageReplanned(begin_step=begin_step, reason=reason, plan=plan):
                after_s = self._loop.time() - (self.begun_s or self._loop.time())
                self.reactions.append(
                    Reaction(after_s=after_s, begin_step=begin_step, reason=str(reason), agents=plan.agents)
                )
            case _:
                pass

    def stop(self) -> None:
        """The job is over: a load that has not begun never will."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin_now(self) -> None:
        self.begun_s = self._loop.time()
        self._begin()
