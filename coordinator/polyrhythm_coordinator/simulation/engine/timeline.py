"""What happened in virtual time: who computed, waited, encoded or decoded when, and what befell the fleet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from polyrhythm.ids import AgentId


class Activity(StrEnum):
    """What a device does for a while."""

    COMPUTE = "compute"
    WAIT = "wait"
    ENCODE = "encode"
    DECODE = "decode"


class Occasion(StrEnum):
    """What happens at a moment."""

    SUBMIT = "submit"
    EPOCH = "epoch"
    REPLAN = "replan"
    TAKEOVER = "takeover"
    JOIN = "join"
    DRAIN = "drain"
    DEATH = "death"
    LOSS = "loss"
    LOAD = "load"
    PICTURE = "picture"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One device's activity over a time.

    Attributes:
        agent: whose.
        activity: what.
        begin_s: from.
        end_s: until.
        step: fine step that is computed; -1 for none.
        rows: row units held as ``(begin, end)``.
        stride: fine steps that one step advances.
        segment: fine step at which the plan's segment begins, in whose colour it is drawn; -1 for none.
    """

    agent: AgentId
    activity: Activity
    begin_s: float
    end_s: float
    step: int = -1
    rows: tuple[int, int] = (0, 0)
    stride: int = 1
    segment: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something at a moment; ``agent`` is empty where it concerns the whole fleet."""

    at_s: float
    occasion: Occasion
    text: str
    agent: str = ""


class Timeline:
    """Collects spans and marks. What was to come of an agent that leaves is cut off."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._marks: list[Mark] = []

    @property
    def spans(self) -> tuple[Span, ...]:
        """In order of time."""
        return tuple(sorted(self._spans, key=lambda span: (span.begin_s, span.agent)))

    @property
    def marks(self) -> tuple[Mark, ...]:
        """In order of time."""
        return tuple(sorted(self._marks, key=lambda mark: mark.at_s))

    def add(self, span: Span) -> None:
        """Notes a span of some length; it may end in the future, or never."""
        if span.end_s > span.begin_s and span.begin_s < inf:
            self._spans.append(span)

    def mark(self, mark: Mark) -> None:
        """Notes a moment, once: a loss is told to the fleet and to the client."""
        if mark not in self._marks:
            self._marks.append(mark)

    def cut(self, at_s: float, agent: AgentId | None = None) -> None:
        """Nothing of an agent, or of anybody, lasts beyond a moment."""
        kept: list[Span] = []
        for span in self._spans:
            if agent is not None and span.agent != agent:
                kept.append(span)
            elif span.begin_s < at_s:
                kept.append(replace(span, end_s=min(span.end_s, at_s)))
        self._spans = kept
