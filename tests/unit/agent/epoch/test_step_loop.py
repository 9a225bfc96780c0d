"""The step loop among fakes: which plan it follows from which boundary, and when it stops.

The exchange answers for the other members; the denoiser writes down what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.plan.plan import Beat, Exchange
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.events import AgentEvent, BeatDone
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.epoch.boundary_state import NO_HISTORY, BoundaryState
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.epoch.step_loop import LoopIdentity, StepLoop, StopRequest, accept_every_step
from polyrhythm_agent.errors import EpochAbortedError, EpochCancelledError
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.exchange import ActivationExchange, RepeatableExchange
from polyrhythm_agent.ports.layers import Geometry
from polyrhythm_agent.ports.step_judge import StepJudge, StepVerdict
from tests.tiny_models.layers import geometry, token_layers
from tests.values.plans import agent_ids, segment

STEPS = 8
ROWS = 4
GEOMETRY = geometry(ROWS, token_layers(1, columns=1, features=1, batch=1, shrink=1), unit=1)
OWN, PEER = agent_ids(2)
Record = tuple[int, ...]


class StoppedClock:
    def read_s(self) -> float:
        return 0.0


@dataclass
class FakeRun:
    """A denoiser that predicts how many forwards it has run, and remembers what it was given.

    Attributes:
        histories: by step, of the update.
        seen: step and latent of each forward.
        advanced_by: by step, the prediction of the update.
    """

    histories: dict[int, tuple[int, ...]] = field(default_factory=dict)
    seen: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    advanced_by: dict[int, float] = field(default_factory=dict)
    geometry: Geometry = GEOMETRY

    def initial_noise(self) -> Tensor:
        return torch.zeros(1, 1, ROWS, 1)

    def predict(
        self,
        x_BCHW: Tensor,
        step: int,
        rows: RowRange,
        exchange: ActivationExchange,
        observer: BlockObserver,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        self.seen.append((step, tuple(x_BCHW.flatten().tolist())))
        return torch.full_like(x_BCHW, len(self.seen))

    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
        *,
        rows: RowRange,
    ) -> tuple[Tensor, Tensor]:
        del rows
        self.advanced_by[step] = float(prediction_BCHW.max())
        self.histories[step] = tuple(history_steps)
        return x_BCHW + (next_step - step), x_BCHW.clone()


class NoRows(SoloExchange):
    """Counts how often a step is run again."""

    def __init__(self) -> None:
        self.repeats = 0

    def repeat(self) -> None:
        self.repeats += 1


@dataclass
class FakeExchange:
    """A data plane whose other member says what the test wants.

    Attributes:
        peer_says: the peer's record from this member's own.
        at_step: called when an active step begins.
        beats: what was announced, as previous, current, following.
        steps: what each active step was handed.
        records: what this member contributed.
        gathered: number of tensors in each boundary message.
    """

    peer_says: Callable[[Record], Record] = lambda record: record
    at_step: Callable[[int], None] = lambda _step: None
    beats: list[tuple[Beat | None, Beat, Beat | None]] = field(default_factory=list)
    steps: dict[int, NoRows] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    gathered: list[int] = field(default_factory=list)
    sent_bytes: int = 0
    wait_s: float = 0.0

    def broadcast(self, root: int, tensors: Mapping[str, Tensor]) -> None:
        raise AssertionError("the loop broadcasts nothing")

    def begin_beat(self, previous: Beat | None, current: Beat, following: Beat | None) -> None:
        self.beats.append((previous, current, following))

    def step(self, step: int) -> AbstractContextManager[RepeatableExchange]:
        self.at_step(step)
        self.steps[step] = NoRows()
        return nullcontext(self.steps[step])

    def gather_boundary(self, states_BCHW: Sequence[Tensor]) -> None:
        self.gathered.append(len(states_BCHW))

    def agree(self, record: Record) -> tuple[Record, ...]:
        self.records.append(record)
        return record, self.peer_says(record)

    def abort(self, reason: str) -> None:
        raise AssertionError("the loop aborts nothing")


@dataclass
class Scene:
    """One member's loop over eight steps in beats of two, with whatever the test adds."""

    exchange: FakeExchange
    agent: AgentId = OWN
    book: PlanBook = field(
        default_factory=lambda: PlanBook(version=1, segments=(segment(0, STEPS, (3, 1)),), complete=True)
    )
    stop: StopRequest = field(default_factory=StopRequest)
    run: FakeRun = field(default_factory=FakeRun)
    events: list[AgentEvent] = field(default_factory=list)
    kept: list[BoundaryState] = field(default_factory=list)
    judge: StepJudge = accept_every_step

    def denoise(self) -> BoundaryState:
        noise_BCHW = self.run.initial_noise()
        state = BoundaryState(step=0, x_BCHW=noise_BCHW, x0_BCHW=noise_BCHW.clone(), history_steps=(NO_HISTORY,) * ROWS)
        return StepLoop(
            identity=LoopIdentity(agent=self.agent, epoch=EpochId(incarnation=1, counter=1)),
            run=self.run,
            exchange=self.exchange,
            book=self.book,
            plan_version=1,
            state=state,
            observer=NoObserver(),
            around_exchange=lambda inner: inner,
            busy_clock=StoppedClock(),
            stop=self.stop,
            tell=self.events.append,
            keep=self.kept.append,
            judge=self.judge,
        ).denoise()

    @property
    def followed(self) -> list[tuple[int, int]]:
        """Boundaries that were reached, each with the version of the beat before it."""
        reports = [event.report for event in self.events if isinstance(event, BeatDone)]
        return [(report.boundary_step, report.plan_version) for report in reports]

    def replan(self, begin_step: int) -> None:
        """A second version arrives: from a step on, one step a beat."""
        self.book.extend(version=2, segments=(segment(begin_step, STEPS, (2, 2), beat_steps=1),), complete=True)


def replanned_at_step_1(peer_says: Callable[[Record], Record], begin_step: int = 4) -> Scene:
    """The second version arrives in the middle of the first beat."""
    scene = Scene(exchange=FakeExchange(peer_says=peer_says))
    scene.exchange.at_step = lambda step: scene.replan(begin_step) if step == 1 else None
    return scene


def test_a_version_that_all_hold_takes_over_one_boundary_after_they_agreed() -> None:
    scene = replanned_at_step_1(lambda record: record)
    scene.denoise()
    # Agreed at boundary 2: the beat that begins there is announced already, the one after it is the first to change.
    assert scene.followed == [(2, 1), (4, 1), (5, 2), (6, 2), (7, 2), (8, 2)]


def test_a_version_that_one_member_lacked_one_boundary_before_its_first_step_is_never_followed() -> None:
    scene = replanned_at_step_1(lambda record: (record[0], 1 if record[0] < 4 else 2, 0, 0))
    scene.denoise()
    assert scene.followed == [(2, 1), (4, 1), (6, 1), (8, 1)]


def test_a_version_for_later_waits_for_its_first_step() -> None:
    scene = replanned_at_step_1(lambda record: (record[0], 1 if record[0] < 4 else 2, 0, 0), begin_step=6)
    scene.denoise()
    assert scene.followed == [(2, 1), (4, 1), (6, 1), (7, 2), (8, 2)]


def test_the_version_after_one_that_came_too_late_is_followed() -> None:
    scene = replanned_at_step_1(lambda record: record, begin_step=2)
    first = scene.exchange.at_step

    def at_step(step: int) -> None:
        first(step)
        if step == 2:
            scene.book.extend(version=3, segments=(segment(6, STEPS, (1, 3), beat_steps=1),), complete=True)

    scene.exchange.at_step = at_step
    scene.denoise()
    assert scene.followed == [(2, 1), (4, 1), (6, 1), (7, 3), (8, 3)]


def test_a_version_that_only_others_hold_is_not_asked_for() -> None:
    scene = Scene(exchange=FakeExchange(peer_says=lambda record: (record[0], 2, 0, 0)))
    scene.denoise()
    assert scene.followed == [(2, 1), (4, 1), (6, 1), (8, 1)]


def test_every_beat_was_announced_during_the_one_before() -> None:
    scene = replanned_at_step_1(lambda record: record)
    scene.denoise()
    for (_, before, announced), (previous, current, _) in zip(
        scene.exchange.beats, scene.exchange.beats[1:], strict=False
    ):
        assert (previous, current) == (before, announced)
    assert scene.exchange.beats[0][0] is None
    assert scene.exchange.beats[-1][2] is None
    assert set(scene.exchange.gathered) == {2}


def test_the_record_is_boundary_newest_version_cancel_and_verdict() -> None:
    scene = replanned_at_step_1(lambda record: record)
    at_step_1 = scene.exchange.at_step

    def at_step(step: int) -> None:
        at_step_1(step)
        scene.stop.cancelled = step >= 3

    scene.exchange.at_step = at_step
    with pytest.raises(EpochCancelledError, match="stopped at step 4"):
        scene.denoise()
    assert scene.exchange.records == [(2, 2, 0, 0), (4, 2, 1, 0)]


def test_any_members_cancel_ends_the_epoch_at_the_boundary_and_the_boundary_is_kept() -> None:
    scene = Scene(exchange=FakeExchange(peer_says=lambda record: (record[0], 1, int(record[0] == 4), 0)))
    with pytest.raises(EpochCancelledError, match="stopped at step 4"):
        scene.denoise()
    assert [state.step for state in scene.kept] == [2, 4]


def test_members_at_different_boundaries_are_a_bug() -> None:
    scene = Scene(exchange=FakeExchange(peer_says=lambda record: (record[0] + 2, 1, 0, 0)))
    with pytest.raises(AssertionError, match=r"different boundaries: \[2, 4\]"):
        scene.denoise()


def test_a_member_at_a_boundary_with_a_step_that_does_not_stand_is_a_bug() -> None:
    scene = Scene(exchange=FakeExchange(peer_says=lambda record: (*record[:3], StepVerdict.REPEAT)))
    with pytest.raises(AssertionError, match="step 2 with a forward that does not stand"):
        scene.denoise()


def test_a_step_that_is_rejected_is_run_again_from_the_same_latent_and_advanced_once() -> None:
    def judge(step: int, prediction_BCHW: Tensor) -> StepVerdict:
        rejected = step == 3 and prediction_BCHW.max() < 6  # the 4th and 5th forward
        return StepVerdict.REPEAT if rejected else StepVerdict.ACCEPTED

    undisturbed, scene = Scene(exchange=FakeExchange()), Scene(exchange=FakeExchange(), judge=judge)
    expected = undisturbed.denoise()
    assert torch.equal(scene.denoise().x_BCHW, expected.x_BCHW)
    assert [step for step, _ in scene.run.seen] == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7]
    assert scene.run.seen[3] == scene.run.seen[4] == scene.run.seen[5] == undisturbed.run.seen[3]
    assert scene.run.advanced_by[3] == 6.0
    assert {step: rows.repeats for step, rows in scene.exchange.steps.items() if rows.repeats} == {3: 2}


def test_an_abort_ends_a_row_of_repeats() -> None:
    def reject(step: int, prediction_BCHW: Tensor) -> StepVerdict:
        del step, prediction_BCHW
        return StepVerdict.REPEAT

    scene = Scene(exchange=FakeExchange(), judge=reject)
    predict = scene.run.predict

    def abort_in_the_third(*arguments: Any, **options: Any) -> Tensor:
        if len(scene.run.seen) == 2:
            scene.stop.abort_reason = "a member is lost"
        return predict(*arguments, **options)

    scene.run.predict = abort_in_the_third
    with pytest.raises(EpochAbortedError, match="a member is lost"):
        scene.denoise()
    assert len(scene.run.seen) == 3


def test_an_abort_is_seen_before_the_next_step() -> None:
    scene = Scene(exchange=FakeExchange())
    scene.exchange.at_step = lambda step: setattr(scene.stop, "abort_reason", "a member is lost" if step else None)
    with pytest.raises(EpochAbortedError, match="a member is lost"):
        scene.denoise()
    assert sorted(scene.run.histories) == [0, 1]


def test_history_goes_with_the_rows() -> None:
    """The second member takes over a row that a slower one predicted a step earlier than its own were."""
    body = segment(2, 6, (2, 2), exchange=Exchange.DISPLACED, strides=(2, 1))
    book = PlanBook(version=1, segments=(segment(0, 2, (2, 2)), body, segment(6, 8, (1, 3))), complete=True)
    scene = Scene(exchange=FakeExchange(), book=book, agent=PEER)
    final = scene.denoise()
    assert scene.run.histories == {
        0: (NO_HISTORY, NO_HISTORY),
        1: (0, 0),
        2: (1, 1),
        3: (2, 2),
        4: (3, 3),
        5: (4, 4),
        6: (4, 5, 5),
        7: (6, 6, 6),
    }
    assert [state.history_steps for state in scene.kept] == [(1, 1, 1, 1), (2, 2, 3, 3), (4, 4, 5, 5), (7, 7, 7, 7)]
    assert final.step == STEPS
