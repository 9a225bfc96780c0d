"""Scripts of events for the scheduling core, and how their traces are written down.

``python -m tests.golden.coordinator_scripts`` writes the traces again; read the difference before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

from polyrhythm.errors import CancelledError, PolyrhythmError
from polyrhythm.ids import EpochId
from polyrhythm.job.image import ImageRequest, ImageSpec, Objective, Quality
from polyrhythm.job.reports import JobReport
from polyrhythm.model.facts import DeviceFacts, ModelFacts
from polyrhythm.plan.explanation import Candidate, Explanation, Prediction
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import Heartbeat
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.state.effects import Effect, SendCommand, Tell
from polyrhythm_coordinator.scheduling.state.events import AgentEventReceived, Event, Tick
from tests.worlds.fleet_world import World

TRACES = Path(__file__).parent / "coordinator_traces"
HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=16)
LONG = replace(HIGH, steps=24)


def even_plan(task: PlanTask) -> Explanation:
    """A plan that does not change when the planner does: equal rows, two synchronous beats, then displaced ones."""
    share, rest = divmod(task.request.row_count, len(task.request.agents))
    return plan_of(task, [share + (index < rest) for index in range(len(task.request.agents))])


def leaning_plan(task: PlanTask) -> Explanation:
    """Equal rows at first, and all but two on the last agent once the picture runs."""
    agents, rows = len(task.request.agents), task.request.row_count
    if task.request.begin_step == 0 or agents == 1:
        return even_plan(task)
    return plan_of(task, [*([2 // (agents - 1)] * (agents - 1)), rows - 2 // (agents - 1) * (agents - 1)])


def plan_of(task: PlanTask, counts: list[int]) -> Explanation:
    """A plan with these rows throughout."""
    request = task.request
    agents, begin, steps = request.agents, request.begin_step, request.image.steps
    rows = ranges_from_counts(counts)
    assignments = tuple(Assignment(agent=agent, rows=held) for agent, held in zip(agents, rows, strict=True))
    cuts = ((begin, begin + 4, Exchange.SYNCHRONOUS), (begin + 4, steps, Exchange.DISPLACED))
    segments = tuple(
        Segment(begin_step=first, end_step=last, beat_steps=2, exchange=exchange, assignments=assignments)
        for first, last, exchange in cuts
    )
    plan = Plan(
        version=request.version,
        begin_step=begin,
        steps=steps,
        segments=segments,
        encoder=agents[0],
        decoder=agents[-1],
    )
    prediction = Prediction(encode_s=0.01, denoise_s=0.05 * (steps - begin), decode_s=0.02, agents=())
    chosen = Candidate(label="even", plan=plan, prediction=prediction)
    return Explanation(chosen=chosen, runners_up=(), exclusions=task.exclusions, profiles=request.profiles, links=())


def one_picture() -> World:
    """Two agents, one picture."""
    world = World("a", "b", planner=even_plan)
    world.run(world.submit(HIGH))
    return world


def a_worker_dies() -> World:
    """The rest of a picture on the survivor."""
    world = World("a", "b", planner=even_plan)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 8
    job = world.submit(HIGH)
    world.settle()
    world.kill_worker("b")
    world.daemons["a"].worker.pause_at = None
    world.run(job)
    return world


def a_daemon_falls_silent() -> World:
    """Heartbeats stop, the epoch is aborted, the stream is ended."""
    world = World("a", "b", planner=even_plan)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 8
    job = world.submit(HIGH)
    world.settle()
    world.daemons["b"].silent = True
    world.daemons["b"].worker.hung = True
    world.daemons["a"].worker.pause_at = None
    world.run(job)
    return world


def cancelled_while_the_next_one_waits() -> World:
    """The gang stops at a boundary and is used again by the next job."""
    world = World("a", "b", planner=even_plan)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 8
    first = world.submit(HIGH)
    world.settle()
    second = world.submit(HIGH)
    world.settle()
    world.cancel(first, CancelledError("the client ended the call"))
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(second)
    return world


def a_member_slows_down() -> World:
    """A newer plan for the same gang takes over at a boundary ahead."""
    world = World("a", "b", planner=leaning_plan)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    world.daemons["a"].worker.slowdown = 3.0
    job = world.submit(LONG)
    world.settle()
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    return world


def the_decoder_is_drained() -> World:
    """The epoch ends at a boundary, and the others go on as a new gang."""
    world = World("a", "b", planner=even_plan)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    job = world.submit(LONG)
    world.settle()
    world.drain("b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    world.drain("b", undo=True)
    return world


def three_pictures_by_single_devices() -> World:
    """Two begin at once; the third waits for the fast device, though the slow one would be free before that."""
    world = World("a", "b", per_row_s={"a": 0.005, "b": 0.01}, planner=even_plan)
    world.run(world.submit(replace(HIGH, count=3, objective=Objective.THROUGHPUT)))
    return world


SCRIPTS: dict[str, Callable[[], World]] = {
    script.__name__: script
    for script in (
        one_picture,
        a_worker_dies,
        a_daemon_falls_silent,
        cancelled_while_the_next_one_waits,
        a_member_slows_down,
        the_decoder_is_drained,
        three_pictures_by_single_devices,
    )
}


def render(world: World) -> str:
    """A world's history, one line for each event and each effect; heartbeats and ticks without effect left out."""
    return "".join(f"{line}\n" for line in _lines(world))


def _lines(world: World) -> Iterator[str]:
    for now_s, event, effects in world.log:
        quiet = isinstance(event, Tick) or (
            isinstance(event, AgentEventReceived) and isinstance(event.event, Heartbeat)
        )
        if effects or not quiet:
            yield f"{now_s:.1f} {_event(event)}"
            yield from (f"      {_effect(effect)}" for effect in effects)


def _event(event: Event) -> str:
    if isinstance(event, AgentEventReceived):
        return f"{event.agent}: {_brief(event.event)}"
    return _brief(event)


def _effect(effect: Effect) -> str:
    match effect:
        case SendCommand(agent=agent, command=StartEpoch() as start):
            held = f"root {start.root}, {len(start.segments)} segments, complete={start.complete}"
            return f"-> {agent}: StartEpoch({start.epoch} of {start.gang} from {start.begin_step}, {held})"
        case SendCommand(agent=agent, command=ExtendPlan() as more):
            held = f"{', '.join(map(_brief, more.segments))}, complete={more.complete}"
            return f"-> {agent}: ExtendPlan({more.epoch} by v{more.plan_version}: {held})"
        case SendCommand(agent=agent, command=command):
            return f"-> {agent}: {_brief(command)}"
        case Tell(job=job, fact=fact):
            return f"=> {job}: {_brief(fact)}"
        case _:
            return f"!! {_brief(effect)}"


def _brief(value: object) -> str:  # noqa: PLR0911 - one return a kind of value
    """A value in one short line; what has traces of its own elsewhere is only named."""
    match value:
        case ModelFacts(name=name) | DeviceFacts(uuid=name):
            return name
        case ImageRequest(prompt=prompt) | ImageSpec(prompt=prompt):
            return repr(prompt)
        case EpochId() | PolyrhythmError():
            return str(value)
        case Explanation():
            return f"{value.chosen.label}: {_brief(value.chosen.plan)}"
        case PlanTask():
            return f"from {value.request.begin_step} on {', '.join(value.request.agents)}"
        case Plan():
            return f"v{value.version} " + " | ".join(map(_brief, value.segments))
        case Segment():
            shares = " ".join(f"{share.agent}{share.rows}/{share.stride}" for share in value.assignments)
            return f"{value.begin_step}..{value.end_step} {value.exchange} {shares}"
        case Profile() | Link() | JobReport():
            return type(value).__name__
        case float():
            return f"{value:.4g}"
        case tuple():
            return f"({', '.join(map(_brief, value))})"
        case _ if is_dataclass(value):
            told = [field.name for field in fields(value) if field.name != "notices"]  # for people, and often none
            inner = ", ".join(f"{name}={_brief(getattr(value, name))}" for name in told)
            return f"{type(value).__name__}({inner})"
        case _:
            return str(value)


if __name__ == "__main__":
    TRACES.mkdir(exist_ok=True)
    for name, script in SCRIPTS.items():
        (TRACES / f"{name}.txt").write_text(render(script()), encoding="utf-8")
