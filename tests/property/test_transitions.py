"""Whatever happens in whatever order: no invariant of the core breaks, and every job ends exactly once.

A random part, in which messages are delivered and agents fail in any order, is followed by a fair one without new
failures, in which everything that was accepted has to come to its end. ``World`` checks after every event that the
state's invariants hold, that no command goes to a lost agent, and that no client is told anything after its end.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.errors import CancelledError, ResourceExhaustedError
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.events import ImageChunk, ImageCompleted, ImagePlanned, JobAccepted, JobQueued
from polyrhythm.job.image import ImageRequest, Objective, Overrides, Quality
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import EpochEnded, WorkerLost, WorkerReady
from polyrhythm_coordinator.scheduling.state.effects import SendCommand
from polyrhythm_coordinator.scheduling.state.events import AgentEventReceived, StoringFailed
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

AGENTS = ("a", "b", "c")
PAUSES = ("pause", "go_on")
CHANGES = ("slow_down", "speed_up", "drain", "undrain")
FAULTS = (
    "kill_worker",
    "kill_worker_unnoticed",
    "kill_daemon",
    "stop_daemon",
    "hang_worker",
    "mute",
    "fail",
    "short",
)
REPAIRS = ("connect", "load", "continue_daemon")
CLIENTS = ("submit", "submit_two", "submit_many", "submit_long", "explain", "cancel")
PARTICULAR = ("submit_named", "submit_sized", "submit_planned", "explain_sized", "cancel")
PROGRESS = ("down", "up", "work", "plan", "tick", "settle")
STORES = ("hold_stores", "store", "fail_to_store", "let_stores")
ACTIONS = st.tuples(
    st.sampled_from(PROGRESS * 5 + PAUSES * 2 + REPAIRS * 2 + CLIENTS * 2 + CHANGES * 2 + FAULTS + STORES),
    st.integers(min_value=0, max_value=11),
)
PARTICULAR_ACTIONS = st.tuples(
    st.sampled_from(PROGRESS * 3 + REPAIRS + PARTICULAR * 3 + CHANGES * 2 + FAULTS),
    st.integers(min_value=0, max_value=11),
)
LONG = ImageRequest(prompt="long", seed=1, quality=Quality.BALANCED, steps=60)
"""Beats enough for plans that take over in mid-image."""
NAMED = ImageRequest(prompt="named", seed=1, count=2)
SIZED = ImageRequest(prompt="sized", seed=1, width_px=128, height_px=128)
PLANNED = ImageRequest(prompt="planned", seed=1, plan=exact_plan(12, (4, 4)))
FAIR_S = 600.0
"""Longer than every patience of the core in a row."""


@settings(max_examples=150)
@given(actions=st.lists(ACTIONS, max_size=80))
def test_every_job_ends_exactly_once(actions: list[tuple[str, int]]) -> None:
    all_end(actions)


@settings(max_examples=25)
@given(actions=st.lists(PARTICULAR_ACTIONS, max_size=40))
def test_jobs_with_devices_sizes_and_plans_of_their_own_end_too(actions: list[tuple[str, int]]) -> None:
    all_end(actions)


def all_end(actions: list[tuple[str, int]]) -> None:
    world = World(*AGENTS, per_row_s={"a": 0.01, "b": 0.02, "c": 0.03})
    submitted: list[JobId] = []
    for action, number in actions:
        act(world, submitted, action, number)
    repair(world)
    world.run_until(lambda: all(job in world.ended for job in submitted), limit_s=FAIR_S)
    world.run_until(lambda: not world.state.epochs, limit_s=FAIR_S)
    assert world.blobs.kept_bytes == 0
    for job in submitted:
        check_story(world, job)
        check_reports(world, job)
    check_overlap(world)
    last = world.submit()
    world.run(last)
    assert world.ended[last] is None


def act(world: World, submitted: list[JobId], action: str, number: int) -> None:
    """One random thing happens."""
    if action in CLIENTS + PARTICULAR:
        ask(world, submitted, action, number)
    elif action in PROGRESS + PAUSES:
        go_on(world, action, number)
    elif action in STORES:
        store(world, action)
    else:
        befall(world, AGENTS[number % len(AGENTS)], action, number)


def ask(world: World, submitted: list[JobId], action: str, number: int) -> None:
    """A client wants something."""
    match action:
        case "submit":
            submitted.append(world.submit())
        case "submit_two":
            submitted.append(world.submit(ImageRequest(prompt="two", seed=1, count=2, quality=Quality.HIGH, steps=6)))
        case "submit_many":
            objective = (None, Objective.THROUGHPUT)[number % 2]
            many = ImageRequest(prompt="many", seed=1, count=2 + number % 4, steps=12, objective=objective)
            submitted.append(world.submit(many))
        case "submit_long":
            submitted.append(world.submit(LONG))
        case "submit_named":
            devices = (AgentId(AGENTS[number % len(AGENTS)]),)
            submitted.append(world.submit(replace(NAMED, overrides=Overrides(devices=devices))))
        case "submit_sized":
            submitted.append(world.submit(replace(SIZED, count=1 + number % 3)))
        case "submit_planned":
            submitted.append(world.submit(replace(PLANNED, count=1 + number % 2)))
        case "explain":
            submitted.append(world.submit(explain_only=True))
        case "explain_sized":
            submitted.append(world.submit(replace(SIZED, width_px=96, count=1 + number), explain_only=True))
        case "cancel" if submitted:
            world.cancel(submitted[number % len(submitted)], CancelledError("enough"))
        case _:
            pass  # not possible now


def store(world: World, action: str) -> None:
    """Something happens to the store of jobs."""
    match action:
        case "hold_stores":
            world.holds_stores = True
        case "store":
            world.answer_store()
        case "fail_to_store" if world.stores:
            world.feed(StoringFailed(job=world.stores.popleft().job, error=ResourceExhaustedError("full")))
        case "let_stores":
            world.let_stores()
        case _:
            pass  # not possible now


def go_on(world: World, action: str, number: int) -> None:
    """Something gets on, or stands still for a while."""
    daemon = world.daemons[AGENTS[number % len(AGENTS)]]
    match action:
        case "down":
            world.deliver_down(daemon)
        case "up":
            world.deliver_up(daemon)
        case "work":
            world.work(daemon)
        case "plan":
            world.answer_plan()
        case "tick":
            world.tick(0.1 * (1 + number))
        case "settle":
            world.settle()
        case "pause":
            for other in world.daemons.values():
                other.worker.pause_at = 3 * number
        case "go_on":
            for other in world.daemons.values():
                other.worker.pause_at = None
        case _:
            raise ValueError(action)


def befall(world: World, agent: str, action: str, number: int) -> None:  # noqa: C901, PLR0912 - an arm each
    """An agent comes, goes, changes or fails."""
    daemon = world.daemons[agent]
    match action:
        case "connect" if daemon.session is None:
            world.connect(agent)
        case "load" if daemon.session is not None and daemon.loading and not daemon.up:
            world.load(agent)
        case "kill_worker" if daemon.session is not None and not daemon.loading:
            world.kill_worker(agent)
        case "kill_worker_unnoticed" if daemon.session is not None and not daemon.loading:
            world.kill_worker(agent, noticed=False)
        case "kill_daemon":
            world.kill_daemon(agent)
        case "stop_daemon":
            daemon.silent = True
        case "continue_daemon":
            daemon.silent = False
        case "slow_down":
            daemon.worker.slowdown = 1.5 + number
        case "speed_up":
            daemon.worker.slowdown = 1.0 / (1 + number)
        case "drain":
            world.drain(agent)
        case "undrain":
            world.drain(agent, undo=True)
        case "hang_worker":
            daemon.worker.hung = True
        case "mute":
            daemon.worker.mute = True
        case "fail":
            daemon.worker.fail_at = number
        case "short":
            daemon.worker.rows_max = number
        case _:
            pass  # not possible now


def repair(world: World) -> None:
    """No more faults: whoever is gone comes back, with a worker that works, and is in service."""
    world.let_stores()
    for agent in AGENTS:
        world.drain(agent, undo=True)
        world.daemons[agent].silent = False
        world.kill_daemon(agent)
        world.connect(agent)
        world.load(agent)


def check_story(world: World, job: JobId) -> None:
    """What one client was told makes sense."""
    told = world.told[job]
    if job in world.questions:
        assert [type(event) for event in told] == ([ImagePlanned] if world.ended[job] is None else [])
        return
    if told:
        assert isinstance(told[0], JobAccepted)
    positions = [event.position for event in told if isinstance(event, JobQueued)]
    assert positions == sorted(set(positions), reverse=True)
    pictures = [event.report.image_index for event in told if isinstance(event, ImageCompleted)]
    first_plans = [event.image_index for event in told if isinstance(event, ImagePlanned)]
    assert sorted(first_plans) == list(range(len(first_plans)))
    assert len(set(pictures)) == len(pictures)
    assert set(pictures) <= set(first_plans)
    if world.ended[job] is None:
        assert sorted(pictures) == sorted(first_plans)
    for index in pictures:
        chunks = [event for event in told if isinstance(event, ImageChunk) and event.image_index == index]
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def check_reports(world: World, job: JobId) -> None:
    """Each report names the plans that were really followed, with the boundaries at which one gave way to the next."""
    for event in world.told[job]:
        if isinstance(event, ImageCompleted):
            plans = event.report.plans
            ends = [*(plan.begin_step for plan in plans[1:]), plans[-1].steps]
            told = [
                beat
                for plan, end_step in zip(plans, ends, strict=True)
                for beat in plan.beats()
                if beat.begin_step < end_step
            ]
            followed = world.fabric.followed[job, event.report.seed]
            assert [(b.begin_step, b.end_step) for b in told] == [(b.begin_step, b.end_step) for b in followed]
            assert [b.segment.assignments for b in told] == [b.segment.assignments for b in followed]


def check_overlap(world: World) -> None:
    """No worker is given a second picture before it has told the end of the first one."""
    at_work: dict[tuple[AgentId, int], EpochId] = {}
    for _, event, effects in world.log:
        if isinstance(event, AgentEventReceived) and isinstance(event.event, EpochEnded | WorkerLost | WorkerReady):
            at_work.pop((event.agent, event.session), None)
        for effect in effects:
            if isinstance(effect, SendCommand) and isinstance(effect.command, StartEpoch):
                key = (effect.agent, effect.session)
                assert key not in at_work, f"{effect.agent} works on {at_work[key]}"
                at_work[key] = effect.command.epoch
