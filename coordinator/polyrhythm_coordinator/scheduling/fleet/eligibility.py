"""May this agent work on this picture now? The one ordered list of all that may bar it. Pure.

Of several bars the first one counts: it is what the client is told. Whoever has none can begin at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TypeAlias

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.explanation import Exclusion, ExclusionReason
from polyrhythm_coordinator.scheduling.fleet.host_company import neighbours
from polyrhythm_coordinator.scheduling.fleet.profiles import known_profile
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.state.job import Picture, Wanted
from polyrhythm_coordinator.scheduling.state.phases import Running
from polyrhythm_coordinator.scheduling.state.state import Agent, State

DRAINED = "it is drained; `polyrhythm drain --undo` puts it back"
UNKNOWN_SPEED = "its speed is not known yet"


class Bar(StrEnum):
    """Closed set of what keeps an agent from working on a picture, for good or for now."""

    NOT_NAMED = "not_named"
    """The request names others."""
    LEFT_OUT = "left_out"
    """It could not measure for the job, or for the question."""
    LOST = "lost"
    """It was lost on this picture, even if it is back."""
    ABSENT = "absent"
    """It is not connected."""
    DRAINED = "drained"
    """It takes no work until somebody puts it back."""
    LOADING = "loading"
    """Its worker is not ready."""
    OTHER_WEIGHTS = "other_weights"
    """It does not hold the job's weights."""
    OTHER_DTYPE = "other_dtype"
    """It computes in another dtype than the rest of an exact picture."""
    NO_STATE = "no_state"
    """It does not hold the boundary from which only holders may go on."""
    OCCUPIED = "occupied"
    """It works on another picture, and its speed on this one is not known."""
    BUSY = "busy"
    """It works on another picture, and its speed on this one is known."""
    LATE = "late"
    """It has measured for longer than anybody waits."""
    MEASURING = "measuring"
    """It measures, for this picture or for another one."""
    UNMEASURED = "unmeasured"
    """Its speed is not known, alone or beside others of its host that may take part."""


_REASONS = {
    Bar.NOT_NAMED: ExclusionReason.NOT_NAMED,
    Bar.OTHER_WEIGHTS: ExclusionReason.WRONG_MODEL,
    Bar.OTHER_DTYPE: ExclusionReason.OTHER_ARITHMETIC,
    Bar.BUSY: ExclusionReason.OTHER_PICTURES,
    Bar.LATE: ExclusionReason.TOO_SLOW,
}
"""What the client is told of a bar, beside its message; of all others that the agent is not ready."""

Bars: TypeAlias = Iterator[tuple[Bar, str]]
"""Bars in order, each with its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewpoint:
    """From where agents are looked at: from a picture, from all that a client wants, or from none.

    Attributes:
        state: the present.
        promised: agents that are kept free for other pictures.
        wanted: whose bars count; None for those of the fleet alone.
        picture: one of these; None for bars to all of them.
        now_s: the present, to tell late measurements from others.
    """

    state: State
    promised: frozenset[AgentId]
    wanted: Wanted | None = None
    picture: Picture | None = None
    now_s: float = 0.0

    def of_job(self, job: Wanted) -> Viewpoint:
        """From a job whose pictures wait."""
        return Viewpoint(state=self.state, promised=self.promised, wanted=job)


def of_fleet(state: State) -> Viewpoint:
    """From no picture in particular."""
    return Viewpoint(state=state, promised=promised_agents(state))


def of_picture(state: State, picture: Picture, now_s: float = 0.0) -> Viewpoint:
    """From one picture; the time matters to whoever asks for late ones only."""
    promised, wanted = promised_agents(state, but=picture), state.wanted(picture.job)
    return Viewpoint(state=state, promised=promised, wanted=wanted, picture=picture, now_s=now_s)


def bar_of(view: Viewpoint, name: AgentId, *, ignoring: frozenset[Bar] = frozenset()) -> Bar | None:
    """What keeps an agent from beginning now, but for what is ignored; None where nothing does."""
    for bar, _ in _bars(view, name):
        if bar not in ignoring:
            return bar
    return None


def exclusion_of(view: Viewpoint, name: AgentId) -> Exclusion | None:
    """The same as the client is told it."""
    for bar, message in _bars(view, name):
        return Exclusion(agent=name, reason=_REASONS.get(bar, ExclusionReason.NOT_READY), message=message)
    return None


def lasting_bars(wanted: Wanted | None, picture: Picture | None, name: AgentId) -> Bars:
    """Those that last as long as the job or the picture, whether the agent is connected or not."""
    if wanted is not None and not wanted.image.overrides.allows(name):
        yield Bar.NOT_NAMED, wanted.image.overrides.told
    if wanted is not None and name in wanted.left_out:
        yield Bar.LEFT_OUT, wanted.left_out[name]
    if picture is not None and name in picture.lost:
        yield Bar.LOST, lost_earlier(picture.lost[name], twice=name in picture.readmitted)


def lost_earlier(reason: str, *, twice: bool) -> str:
    """What the client is told of a loss."""
    return f"lost {'twice' if twice else 'earlier'} on this picture: {reason}"


def _bars(view: Viewpoint, name: AgentId) -> Bars:
    yield from lasting_bars(view.wanted, view.picture, name)
    agent = view.state.agents.get(name)
    if agent is None:
        yield Bar.ABSENT, "not connected"
        return
    yield from _bars_of_service(view, agent)
    yield from _bars_of_work(view, agent)


def _bars_of_service(view: Viewpoint, agent: Agent) -> Bars:
    """Why an agent cannot be used, or its worker, whatever it does."""
    wanted, picture = view.wanted, view.picture
    if agent.agent in view.state.drained:
        yield Bar.DRAINED, DRAINED
    if not agent.worker_ready:
        yield Bar.LOADING, f"its worker is loading{f'; the one before: {agent.trouble}' if agent.trouble else ''}"
    if wanted is not None:
        own, exact = agent.own_facts(wanted.facts), wanted.image.quality is Quality.EXACT
        if own is None:
            yield Bar.OTHER_WEIGHTS, f"it does not hold the same weights of {wanted.facts.name}"
        elif exact and own.dtype != wanted.facts.dtype:  # it is that of one device up to rounding in one dtype
            message = f"it computes in {own.dtype}, and all of an exact picture is computed in {wanted.facts.dtype}"
            yield Bar.OTHER_DTYPE, message
    if picture is not None and picture.holders_only and agent.agent not in picture.holders:
        yield Bar.NO_STATE, f"it does not hold step {picture.begin_step}, from which the picture goes on"


def _bars_of_work(view: Viewpoint, agent: Agent) -> Bars:
    """What an agent does now, or has yet to do."""
    picture, measuring = view.picture, agent.measuring
    unmeasured = picture is not None and _is_unmeasured(view, picture, agent)
    if _works_elsewhere(view, agent) and unmeasured:
        yield Bar.OCCUPIED, UNKNOWN_SPEED
    elif _works_elsewhere(view, agent):
        yield Bar.BUSY, f"{agent.agent} works on another picture"
    if measuring is not None and measuring.is_late(view.now_s, view.state.limits):
        yield Bar.LATE, f"it measured nothing within {view.state.limits.profile_timeout_s:g} s"
    elif measuring is not None:
        yield Bar.MEASURING, UNKNOWN_SPEED
    if unmeasured:
        yield Bar.UNMEASURED, UNKNOWN_SPEED


def _works_elsewhere(view: Viewpoint, agent: Agent) -> bool:
    phase = view.picture and view.picture.phase
    own_epoch = phase.epoch if isinstance(phase, Running) else None
    return agent.agent in view.promised or agent.epoch not in (None, own_epoch)


def _is_unmeasured(view: Viewpoint, picture: Picture, agent: Agent) -> bool:
    """Whether too little is known of an agent's speed; a picture that has begun waits for no measurement."""
    known = known_profile(view.state, picture, agent.agent)
    if known is None:
        return True
    begun = picture.has_begun or isinstance(picture.phase, Running)
    return not begun and known.together is None and _has_company(view, agent)


def _has_company(view: Viewpoint, agent: Agent) -> bool:
    """Whether others of an agent's host may take part too, now or later."""
    return any(
        not any(chain(lasting_bars(view.wanted, view.picture, other), _bars_of_service(view, view.state.agents[other])))
        for other in neighbours(view.state, agent.agent)
    )
