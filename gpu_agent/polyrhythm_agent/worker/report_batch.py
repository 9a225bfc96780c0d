"""Gathers reports of progress, since a message costs everybody on its way more than its content. Pure."""

from __future__ import annotations

from polyrhythm.session.events import AgentEvent, BeatDone, StepDone


def can_wait(event: AgentEvent) -> bool:
    """Whether an event may wait for a heartbeat: reports of progress, but for two kinds.

    The last one dates the picture; one that shows a change of speed may be the cause of another plan, which comes the
    sooner for it. The coordinator allows for the age of all others.
    """
    match event:
        case StepDone():
            return True
        case BeatDone(report=report):
            return not (report.last or report.changed)
        case _:
            return False


class ReportBatch:
    """Events on their way up. Nothing is lost but step reports that a newer report makes stale; nothing overtakes."""

    def __init__(self) -> None:
        self._held: list[AgentEvent] = []

    def add(self, event: AgentEvent) -> None:
        """Takes an event; a report of progress replaces the step report just before it, which says less."""
        if isinstance(event, StepDone | BeatDone) and self._held and isinstance(self._held[-1], StepDone):
            self._held.pop()
        self._held.append(event)

    def take(self) -> tuple[AgentEvent, ...]:
        """Gives out all that is held, in order."""
        held, self._held = tuple(self._held), []
        return held
