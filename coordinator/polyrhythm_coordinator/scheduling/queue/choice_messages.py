"""What clients are told of a choice between a gang and single devices. Owns words, decides nothing. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import isfinite

from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Exclusion, ExclusionReason, Explanation
from polyrhythm_coordinator.scheduling.planning.explanation import RUNNERS_UP_MAX, same_seconds
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Choice, Way


def with_choice(explanation: Explanation, rival: Explanation | None, sharing: str) -> Explanation:
    """A plan that was asked for after a choice, told with what it was chosen over.

    Args:
        explanation: of the plan.
        rival: the gang's plan that was decided against; None if there was no choice.
        sharing: why, in words.
    """
    if rival is None:
        return explanation
    others = {candidate.label: candidate for candidate in (rival.chosen, *rival.runners_up, *explanation.runners_up)}
    others.pop(explanation.chosen.label, None)
    fastest = sorted(others.values(), key=lambda candidate: candidate.prediction.total_s)[:RUNNERS_UP_MAX]
    profiles = {profile.agent: profile for profile in (*rival.profiles, *explanation.profiles)}
    return replace(
        explanation,
        runners_up=tuple(fastest),
        profiles=tuple(profiles[agent] for agent in sorted(profiles)),
        links=rival.links,
        sharing=sharing,
    )


def left_to_others(agents: Collection[AgentId], *, throughput: bool) -> tuple[Exclusion, ...]:
    """Why agents take no part in a picture that is made by one device."""
    return other_pictures(agents, "is kept free for other pictures" if throughput else "is left to other pictures")


def other_pictures(agents: Collection[AgentId], message: str) -> tuple[Exclusion, ...]:
    """That agents take no part because of other pictures."""
    return tuple(
        Exclusion(agent=agent, reason=ExclusionReason.OTHER_PICTURES, message=f"{agent} {message}")
        for agent in sorted(agents)
    )


def sharing_message(choice: Choice, waiting: int, gang: Explanation, *, throughput: bool) -> str:
    """The choice in a sentence with the predicted seconds of every way; empty where there was nothing to choose.

    Args:
        choice: what is done.
        waiting: pictures that it is about.
        gang: how the first of them would be made by all together.
        throughput: whether the client asks for it.
    """
    several = waiting > 1
    pictures = f"{waiting} pictures wait" if several else "no other picture waits"
    ways = {
        Way.GANG: (f"{'one after another ' if several else ''}by {gang.chosen.label}", choice.gang_s),
        Way.FREE: ("by those that are free", choice.free_s),
        Way.SINGLES: ("each by one device" if several else "by one device", choice.singles_s),
    }
    chosen, chosen_s = ways.pop(choice.way)
    # A gang of one device is no other way than a single device that takes as long.
    alone = len(gang.chosen.plan.agents) == 1
    others = [
        f"{way} {seconds:.3f} s"
        for way, seconds in ways.values()
        if isfinite(seconds) and not (alone and same_seconds(seconds, chosen_s))
    ]
    if not throughput and (not others or (not several and choice.way is Way.GANG)):
        return ""
    why = "throughput is asked for, and " if throughput else ""
    return ", ".join((f"{why}{pictures}: {chosen} in {chosen_s:.3f} s as predicted", *others))
