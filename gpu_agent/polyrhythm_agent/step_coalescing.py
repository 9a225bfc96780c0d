"""Keeps step reports from flooding the session: the newest one of each short while is enough. Pure."""

from __future__ import annotations

from polyrhythm.messages import AgentEvent, Heartbeat, StepDone

INTERVAL_S = 0.1


class StepCoalescer:
    """Delays step reports, never anything else; the order of what is sent is the order of what happened."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._sent_s = float("-inf")
        self._held: StepDone | None = None

    @property
    def due_s(self) -> float | None:
        """When the report that is held back must go; None if there is none."""
        return None if self._held is None else self._sent_s + self._interval_s

    def offer(self, event: AgentEvent, now_s: float) -> list[AgentEvent]:
        """Takes an event and returns what is to be sent now, in order."""
        if isinstance(event, Heartbeat):
            return [event]
        if isinstance(event, StepDone):
            self._held = event
            return self.flush(now_s) if now_s >= self._sent_s + self._interval_s else []
        return [*self.flush(now_s), event]

    def flush(self, now_s: float) -> list[AgentEvent]:
        """Gives out the report that is held back, if any."""
        if self._held is None:
            return []
        held, self._held = self._held, None
        self._sent_s = now_s
        return [held]
