"""One epoch in virtual time: newer plans, cancels and aborts take effect when the agents' own rules say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import AgentEvent, BeatDone, EpochEnded, EpochJoined, EpochOutcome, ImageMade
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.simulation.engine.agenda import Agenda
from polyrhythm_coordinator.simulation.engine.beat_clock import Pace
from polyrhythm_coordinator.simulation.engine.gang_run import GangRun
from polyrhythm_coordinator.simulation.engine.surroundings import Memory
from polyrhythm_coordinator.simulation.engine.timeline import Occasion, Timeline
from polyrhythm_coordinator.simulation.fleet_files.speed_course import SpeedCourse
from tests.values.plan_requests import plan_request
from tests.values.plans import plan, segment

STEP_S = 0.5
"""Of one of two equal devices with half of the rows."""
FIRST = plan(segment(0, 12, (8, 8)))
NEWER = plan(
    segment(4, 5, (12, 4), beat_steps=1),
    segment(5, 12, (12, 4), exchange=Exchange.DISPLACED, beat_steps=2),
    begin_step=4,
    version=2,
)


class Stage:
    """Two equal devices, one second a whole picture, one epoch that begins at once."""

    def __init__(self, first: Plan = FIRST, *, segments: int = 9, paces: Mapping[str, Pace] | None = None) -> None:
        self.agenda = Agenda()
        self.timeline = Timeline()
        self.said: list[tuple[float, AgentId, AgentEvent]] = []
        base = plan_request([1.0, 1.0], steps=12)
        names = dict(zip(base.agents, first.agents, strict=True))
        self._truth = replace(
            base,
            profiles=tuple(replace(held, agent=names[held.agent], decode_s=0.25) for held in base.profiles),
            links={(names[a], names[b]): link for (a, b), link in base.links.items()},
        )
        self._paces = {agent: (paces or {}).get(agent, Pace()) for agent in first.agents}
        self.memories = {agent: Memory() for agent in first.agents}
        command = StartEpoch(
            epoch=EpochId(incarnation=0, counter=1),
            gang=GangId("gang"),
            members=first.agents,
            job=JobId("job"),
            image=base.image,
            begin_step=first.begin_step,
            root=first.encoder,
            decoder=first.decoder,
            plan_version=1,
            segments=first.segments[:segments],
            complete=segments >= len(first.segments),
            step_timeout_s=10.0,
            uninterruptible_s=1.0,
            exchange_dtype="float32",
        )
        self.run = GangRun(command, self)
        for agent in first.agents:
            self.run.start(agent, command, self.memories[agent])

    def say(self, agent: AgentId, event: AgentEvent) -> None:
        self.said.append((self.agenda.now_s, agent, event))

    def truth(self, image: ImageSpec) -> PlanRequest:
        return self._truth

    def working_beside(self, epoch: EpochId) -> frozenset[AgentId]:
        return frozenset()

    def paces(self) -> Mapping[AgentId, Pace]:
        return self._paces

    def form_gang_s(self, gang: GangId, agents: tuple[AgentId, ...]) -> float:
        return 0.0

    def at(self, time_s: float, action: Callable[[AgentId], None]) -> None:
        for agent in self.run.members:
            self.agenda.at(time_s, lambda agent=agent: action(agent))

    def play(self) -> None:
        while self.agenda.step():
            pass

    def beats(self, agent: AgentId) -> list[tuple[int, int]]:
        """Boundary and plan version of every beat that an agent reported."""
        reports = [event.report for _, who, event in self.said if who == agent and isinstance(event, BeatDone)]
        return [(report.boundary_step, report.plan_version) for report in reports]

    def ends(self) -> dict[AgentId, tuple[float, EpochEnded]]:
        return {who: (at_s, event) for at_s, who, event in self.said if isinstance(event, EpochEnded)}


def newer(segments: slice = slice(None)) -> ExtendPlan:
    return ExtendPlan(
        epoch=EpochId(incarnation=0, counter=1),
        plan_version=2,
        segments=NEWER.segments[segments],
        complete=True,
        step_timeout_s=1.0,
        uninterruptible_s=1.0,
    )


def test_an_epoch_goes_from_joining_to_the_picture() -> None:
    stage = Stage()
    stage.play()
    kinds = [type(event) for _, _, event in stage.said]
    assert kinds.count(EpochJoined) == 2
    assert [step for step, _ in stage.beats(FIRST.agents[0])] == [2, 4, 6, 8, 10, 12]
    ((at_s, decoder),) = [(at_s, who) for at_s, who, event in stage.said if isinstance(event, ImageMade)]
    assert (at_s, decoder) == (pytest.approx(12 * STEP_S + 0.25), FIRST.decoder)
    assert {ended.outcome for _, ended in stage.ends().values()} == {EpochOutcome.FINISHED}
    assert {ended.held_boundaries for _, ended in stage.ends().values()} == {(10, 12)}


def test_a_newer_plan_takes_over_one_boundary_after_it_was_agreed() -> None:
    takes_over = 4  # held by all at boundary 2, agreed there; the beat from there to 4 was fixed already
    stage = Stage()
    stage.at(0.7 * STEP_S, lambda agent: stage.run.extend(agent, newer()))
    stage.play()
    for agent in FIRST.agents:
        followed = stage.beats(agent)
        assert [version for _, version in followed] == sorted(version for _, version in followed)
        assert min(boundary for boundary, version in followed if version == 2) > takes_over
        assert max(boundary for boundary, version in followed if version == 1) == takes_over
        assert followed[-1][0] == 12
    assert [mark.occasion for mark in stage.timeline.marks] == [Occasion.TAKEOVER]


def test_a_plan_that_is_agreed_after_its_first_step_was_fixed_is_not_followed() -> None:
    stage = Stage()
    stage.at(2.5 * STEP_S, lambda agent: stage.run.extend(agent, newer()))
    stage.play()
    assert {version for agent in FIRST.agents for _, version in stage.beats(agent)} == {1}


def test_a_plan_that_one_member_lacks_is_not_followed() -> None:
    stage = Stage()
    stage.agenda.at(0.1, lambda: stage.run.extend(FIRST.agents[0], newer()))
    stage.play()
    assert {version for _, version in stage.beats(FIRST.agents[1])} == {1}


def test_a_beat_waits_for_its_segment() -> None:
    two = plan(segment(0, 4, (8, 8)), segment(4, 12, (8, 8)))
    stage = Stage(two, segments=1)
    later = ExtendPlan(
        epoch=EpochId(incarnation=0, counter=1),
        plan_version=1,
        segments=two.segments[1:],
        complete=True,
        step_timeout_s=1.0,
        uninterruptible_s=1.0,
    )
    stage.at(10.0, lambda agent: stage.run.extend(agent, later))
    stage.play()
    # The last beat before the gap waits too: what it sends depends on the beat after it.
    assert [at_s for at_s, _, event in stage.said if isinstance(event, BeatDone)][::2] == pytest.approx(
        [2 * STEP_S, *(10.0 + steps * STEP_S for steps in (2, 4, 6, 8, 10))]
    )


def test_a_cancel_takes_effect_at_the_next_boundary() -> None:
    stage = Stage()
    stage.agenda.at(2.5 * STEP_S, lambda: stage.run.cancel(FIRST.agents[1]))
    stage.play()
    for at_s, ended in stage.ends().values():
        assert (at_s, ended.outcome) == (pytest.approx(4 * STEP_S), EpochOutcome.CANCELLED)
        assert ended.gang_intact


def test_an_abort_is_seen_after_the_layer_at_hand() -> None:
    stage = Stage()
    at_s = 2.5 * STEP_S
    stage.at(at_s, lambda agent: stage.run.leave(agent, EpochOutcome.ABORTED, "enough"))
    stage.play()
    for left_s, ended in stage.ends().values():
        assert at_s < left_s <= at_s + STEP_S / 8 + 1e-9
        assert (ended.outcome, ended.held_boundaries, ended.gang_intact) == (EpochOutcome.ABORTED, (2,), False)
    assert all(span.end_s <= at_s + STEP_S / 8 + 1e-9 for span in stage.timeline.spans)


def test_peers_of_a_silent_death_wait_until_they_are_told() -> None:
    dying, survivor = FIRST.agents
    stage = Stage(paces={dying: Pace(course=SpeedCourse(ends_s=1.25))})
    stage.agenda.at(1.25, lambda: stage.run.lose(dying, noticed=False))
    stage.agenda.at(9.0, lambda: stage.run.leave(survivor, EpochOutcome.ABORTED, "b is lost"))
    stage.play()
    ((at_s, ended),) = stage.ends().values()
    assert (at_s, ended.held_boundaries) == (9.0, (2,))
