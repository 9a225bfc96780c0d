"""All agents seen from one picture, sorted by what bars them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Exclusion
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar, Viewpoint, bar_of, exclusion_of, of_picture
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.state import State, loading_message

FOR_NOW = frozenset({None, Bar.UNMEASURED, Bar.MEASURING, Bar.BUSY, Bar.OCCUPIED})
"""Bars of those that take part, now or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKinds:
    """The fleet as a picture sees it; the agents of each kind are sorted by name.

    Attributes:
        view: from where they are looked at.
        bars: of all that are connected, and of those that may be back in a moment; None of those that can begin.
    """

    view: Viewpoint
    bars: Mapping[AgentId, Bar | None]

    def of(self, *bars: Bar | None) -> tuple[AgentId, ...]:
        """Those with one of these bars."""
        return tuple(name for name, bar in self.bars.items() if bar in bars)

    @property
    def ready(self) -> tuple[AgentId, ...]:
        """Those that can begin: they are free, and their speed is known."""
        return self.of(None)

    @property
    def plannable(self) -> tuple[AgentId, ...]:
        """Those whose speed is known, free or busy."""
        return self.of(None, Bar.BUSY)

    @property
    def candidates(self) -> tuple[AgentId, ...]:
        """Those that may take part, now or later."""
        return self.of(*FOR_NOW)

    @property
    def coming(self) -> tuple[AgentId, ...]:
        """Those that may be able soon without anybody's doing: they load, or were connected a moment ago."""
        return self.of(Bar.LOADING, Bar.ABSENT)

    @property
    def coming_message(self) -> str:
        """What a client is told of these."""
        loading, returning = self.of(Bar.LOADING), self.of(Bar.ABSENT)
        messages = [loading_message(self.view.state.agents[name] for name in loading)] if loading else []
        messages += [f"{', '.join(returning)} may be back in a moment"] if returning else []
        return ", ".join(messages)

    def only(self, agents: Collection[AgentId]) -> AgentKinds:
        """The same for a plan of these: of the others, those that take no part at all stay to be told of."""
        bars = {name: bar for name, bar in self.bars.items() if name in agents or bar not in FOR_NOW}
        return replace(self, bars=bars)

    def exclusions(self, *, but: Collection[AgentId] = ()) -> tuple[Exclusion, ...]:
        """Why connected agents other than these do not begin now."""
        others = (name for name, bar in self.bars.items() if bar is not Bar.ABSENT and name not in but)
        found = (exclusion_of(self.view, name) for name in others)
        return tuple(exclusion for exclusion in found if exclusion is not None)


def agent_kinds(state: State, picture: Picture, now_s: float) -> AgentKinds:
    """Sorts all agents."""
    view = of_picture(state, picture, now_s)
    bars = {name: bar_of(view, name) for name in state.agents}
    for name in state.returning(now_s):
        if bar_of(view, name) is Bar.ABSENT and state.departed[name].may_hold(picture.facts):
            bars[name] = Bar.ABSENT
    return AgentKinds(view=view, bars={name: bars[name] for name in sorted(bars)})
