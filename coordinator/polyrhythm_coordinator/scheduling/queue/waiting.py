"""Pictures among which the fleet is shared out: the next one and those behind it, with what each would take. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from polyrhythm.ids import JobId
from polyrhythm.job.image import Objective
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.profile import Profile
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import agent_kinds
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.fleet.situation import LOOKED_AT_MAX
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Entry
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPictures:
    """Pictures with what they would take, in order of arrival.

    Attributes:
        pictures: the next one, then those that wait behind it, at their beginning.
        entries: one a picture; none at all if nobody knows what the next one would take.
    """

    pictures: tuple[Picture, ...]
    entries: tuple[Entry, ...]


def in_line(state: State, first: Picture) -> Iterator[Picture]:
    """A picture that was called up, and all that wait behind it."""
    yield first
    for name in state.queue:
        job = state.jobs[name]
        yield from map(job.picture, job.waiting)


def looked_at(state: State, pictures: Iterable[Picture], gang: Explanation, now_s: float) -> WaitingPictures:
    """The next of some pictures with those behind it that are looked at together.

    They end before a picture that follows other rules: one with a plan or an objective of its own, one whose size is
    measured nowhere.

    Args:
        state: the present.
        pictures: in order.
        gang: how the first would be made by everybody together.
        now_s: the present.
    """
    found: list[Picture] = []
    entries: list[Entry] = []
    known: dict[JobId, Entry | None] = {}
    for picture in islice(pictures, LOOKED_AT_MAX):
        if picture.fixed_plan is not None or (found and picture.image.objective is not found[0].image.objective):
            break
        if picture.job not in known:
            known[picture.job] = _entry(state, picture, gang, entries[0] if entries else None, now_s)
        entry = known[picture.job]
        if entry is None:
            break
        found.append(picture)
        entries.append(entry)
    return WaitingPictures(pictures=tuple(found), entries=tuple(entries))


def wants_throughput(picture: Picture) -> bool:
    """Whether devices are to be kept free for further pictures."""
    return picture.image.objective is Objective.THROUGHPUT


def single_s(picture: Picture, profile: Profile, *, alone: bool) -> float:
    """Predicted seconds of a whole picture, or of what is left of it, on one device.

    Args:
        picture: to make.
        profile: of the device.
        alone: whether the others of its host rest.
    """
    steps, rows = picture.image.steps - picture.begin_step, picture.facts.row_count(picture.image.height_px)
    return profile.encode_s + steps * profile.forward_s(rows, alone=alone) + profile.decode_s


def _entry(state: State, picture: Picture, gang: Explanation, first: Entry | None, now_s: float) -> Entry | None:
    """What a picture would take; None if nobody knows, or if those of the gang are not all there any more."""
    agents = agent_kinds(state, picture, now_s).plannable
    if not agents:
        return None
    share = _searched_share(gang)
    profiles = profiles_of(state, picture, agents)
    alone_s, beside_s = (
        {
            profile.agent: share * single_s(picture, profile, alone=alone and profile.is_alone_among(()))
            for profile in profiles
        }
        for alone in (True, False)
    )
    request = plan_request(state, picture, profiles, 0)
    fit = MemoryFit(request=request)
    fits = frozenset(
        agent
        for agent in agents
        if fit.rows(agent, exchange=Exchange.SYNCHRONOUS, in_gang=False) >= request.row_count
        and fit.can_decode(agent, exchange=Exchange.SYNCHRONOUS, in_gang=False)
    )
    members, gang_s = gang.chosen.plan.agents, gang.chosen.prediction.total_s
    if first is None:
        led = all(agent in alone_s for agent in members)
        return Entry(alone_s=alone_s, beside_s=beside_s, fits=fits, gang_s=gang_s, gang=members) if led else None
    # A gang's gain over its fastest device is taken to be the same for other sizes: no plan is searched for them yet.
    scale = min(alone_s.values()) / min(first.alone_s.values())
    gang_members = members if all(agent in alone_s for agent in members) else agents
    return Entry(alone_s=alone_s, beside_s=beside_s, fits=fits, gang_s=gang_s * scale, gang=gang_members)


def _searched_share(gang: Explanation) -> float:
    """What plans for single devices take, as a share of all steps one by one: they may merge steps where that may be.

    The search tells it of the fastest device alone; the same share is taken for the others, and for other sizes.
    """
    for candidate in (gang.chosen, *gang.runners_up):
        members = candidate.plan.agents
        if len(members) == 1:
            profile = next(profile for profile in gang.profiles if profile.agent == members[0])
            alone = profile.is_alone_among(())
            steps_s = candidate.plan.steps * profile.forward_s(candidate.plan.row_count, alone=alone)
            return candidate.prediction.total_s / (profile.encode_s + steps_s + profile.decode_s)
    return 1.0
