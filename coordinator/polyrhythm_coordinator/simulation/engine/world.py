"""The scheduling core among virtual agents: carries out its effects, feeds it events, moves the virtual clock.

What the interpreter does with sockets and time, this does with an agenda. Decides nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import permutations
from math import inf
from typing import assert_never

from polyrhythm.errors import InternalError, NoAgentsError, PolyrhythmError
from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.events import AgentFailed, ImageCompleted, ImagePlanned, ImageReplanned, JobDelayed
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import AgentEvent, ImageMade, PreviewMade
from polyrhythm_coordinator.runtime.blob_store import reference_to
from polyrhythm_coordinator.runtime.news import News
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.state.effects import (
    ComputePlan,
    DisconnectAgent,
    DropBytes,
    Effect,
    EndJob,
    FailJob,
    JobFact,
    KeepBytes,
    ReadinessChanged,
    RefuseJob,
    SendCommand,
    StoreJob,
    Tell,
)
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentDisconnected,
    AgentEventReceived,
    BlobId,
    Event,
    JobStored,
    JobSubmitted,
    SessionId,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.phases import Shelved
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.transition import transition
from polyrhythm_coordinator.simulation.engine.agenda import Agenda
from polyrhythm_coordinator.simulation.engine.beat_clock import Pace
from polyrhythm_coordinator.simulation.engine.gang_run import GangRun
from polyrhythm_coordinator.simulation.engine.plan_answer import plan_answer
from polyrhythm_coordinator.simulation.engine.timeline import Mark, Occasion, Timeline
from polyrhythm_coordinator.simulation.engine.virtual_agent import VirtualAgent
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription

JOB = JobId("job-0-1")
SEED = 0
"""Of a picture that nobody sees, ..."""
BLOB = BlobId(1)
"""... and whose file nobody keeps."""
ENDLESS_S = 1e7
"""Virtual seconds after which a job that has not ended never will: months, far beyond all patience of the core."""


class World:
    """One simulation.

    Args:
        fleet: as described.
        planner: answers plan tasks.
        limits: patience of the core.
    """

    def __init__(
        self,
        fleet: FleetDescription,
        *,
        planner: Callable[[PlanTask], Explanation] = explanation_of,
        limits: Limits | None = None,
    ) -> None:
        self.fleet = fleet
        self.agenda = Agenda()
        self.timeline = Timeline()
        self.told: list[tuple[float, JobFact]] = []
        self.error: PolyrhythmError | None = None
        self.ended_s: float | None = None
        self._news = News()
        self._delay = ""
        self._last_change_s = max((_last_change_s(device) for device in fleet.devices), default=0.0)
        # Links are known from earlier pictures; where they are measured anew, the same comes out.
        links = {
            (f"simulated-{one}", f"simulated-{other}"): fleet.link(one, other)
            for one, other in permutations((device.agent for device in fleet.devices), 2)
        }
        self._state = State(incarnation=0, limits=limits or Limits(), links=links)
        self._planner = planner
        self._sessions = 0
        self._runs: dict[EpochId, GangRun] = {}
        self._gangs: set[GangId] = set()
        self._truths: dict[ImageSpec, PlanRequest] = {}
        self._agents = {device.agent: VirtualAgent(device, self) for device in fleet.devices}
        self._paces = {
            device.agent: Pace(course=device.course, overhead_s=device.step_overhead_s) for device in fleet.devices
        }

    def run(self, request: ImageRequest) -> None:
        """Asks for pictures of a fleet that is ready and idle, and follows it until they are made or fail.

        Raises:
            InternalError: the core has come to no end; a bug.
        """
        for agent in self._agents.values():
            agent.begin()
        self.timeline.mark(Mark(at_s=self.agenda.now_s, occasion=Occasion.SUBMIT, text="the pictures are asked for"))
        self.agenda.after(self._state.limits.tick_interval_s, self._tick)
        self.feed(JobSubmitted(job=JOB, request=request, drawn_seed=SEED, explain_only=False))
        while self.ended_s is None:
            if self._is_forsaken():
                self._end(JOB, NoAgentsError(f"nobody is left to go on: {self._delay}"))
            elif not self.agenda.step() or self.agenda.now_s > ENDLESS_S:
                raise InternalError(f"the simulated job has come to no end after {self.agenda.now_s:g} s")
        self.timeline.cut(self.ended_s)

    def _is_forsaken(self) -> bool:
        """Whether the core waits for somebody to put an agent back, which nobody here ever does.

        Before, it may have waited for an agent that died to come back.
        """
        late = self.agenda.now_s > self._last_change_s + self._state.limits.loading_grace_s
        idle = not self._state.epochs
        return late and idle and any(isinstance(picture.phase, Shelved) for picture in self._state.pictures)

    def feed(self, event: Event) -> None:
        """One event; what follows from it is carried out."""
        self._state, effects = transition(self._state, event, self.agenda.now_s)
        for effect in effects:
            self._carry_out(effect)

    # --- what agents ask of it ------------------------------------------------------------------------------------

    def connect(self, agent: VirtualAgent) -> SessionId:
        """Opens an agent's stream."""
        self._sessions += 1
        session = SessionId(self._sessions)
        self.feed(AgentConnected(session=session, register=agent.register()))
        return session

    def say(self, agent: AgentId, event: AgentEvent) -> None:
        """A worker says something to its daemon, which passes it on."""
        self._agents[agent].say(event)

    def deliver(self, agent: AgentId, session: SessionId, event: AgentEvent) -> None:
        """A message is on its way to the coordinator."""
        said = reference_to(event, BLOB, ()) if isinstance(event, ImageMade | PreviewMade) else event
        received = AgentEventReceived(agent=agent, session=session, event=said)
        self.agenda.after(self.fleet.control.message_s, partial(self.feed, received))

    def hang_up(self, agent: AgentId, session: SessionId, reason: str) -> None:
        """An agent's stream breaks."""
        broken = AgentDisconnected(agent=agent, session=session, reason=reason)
        self.agenda.after(self.fleet.control.message_s, partial(self.feed, broken))

    def run_of(self, epoch: EpochId) -> GangRun | None:
        """An epoch that has been started."""
        return self._runs.get(epoch)

    def open_run(self, command: StartEpoch) -> GangRun:
        """An epoch; its first member opens it."""
        return self._runs.setdefault(command.epoch, GangRun(command, self))

    def lose_member(self, agent: AgentId, *, noticed: bool) -> None:
        """A worker dies: whatever it took part in breaks."""
        for run in self._runs.values():
            if agent in run.members:
                run.lose(agent, noticed=noticed)

    # --- Surroundings of an epoch ---------------------------------------------------------------------------------

    def truth(self, image: ImageSpec) -> PlanRequest:
        """What a picture costs every device at speed 1, and the links as they are."""
        if image not in self._truths:
            self._truths[image] = PlanRequest(
                image=image,
                facts=self.fleet.facts,
                profiles=tuple(self.fleet.profile(device, image) for device in self.fleet.devices),
                links={
                    (one, other): self.fleet.link(one, other)
                    for one, other in permutations((device.agent for device in self.fleet.devices), 2)
                },
            )
        return self._truths[image]

    def working_beside(self, epoch: EpochId) -> frozenset[AgentId]:
        """Devices that compute for other epochs now."""
        return frozenset[AgentId]().union(*(run.working for name, run in self._runs.items() if name != epoch))

    def paces(self) -> Mapping[AgentId, Pace]:
        """Speeds over time."""
        return self._paces

    def form_gang_s(self, gang: GangId, agents: tuple[AgentId, ...]) -> float:
        """Seconds to form a gang; 0 where it stands already, or is of one."""
        if gang in self._gangs or len(agents) == 1:
            return 0.0
        self._gangs.add(gang)
        return self.fleet.control.form_gang_s

    # --- effects ---------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendCommand(agent=agent, session=session, command=command):
                receive = partial(self._agents[agent].receive, session, command)
                self.agenda.after(self.fleet.control.message_s, receive)
            case DisconnectAgent(agent=agent, session=session, error=error):
                mark = Mark(at_s=self.agenda.now_s, occasion=Occasion.LOSS, text=str(error), agent=agent)
                self.timeline.mark(mark)
                self._agents[agent].cut_off(session)
            case Tell(fact=fact, image_index=image_index):
                if self._news.is_new(fact, self.agenda.now_s, image_index):
                    self._note(fact)
            case StoreJob(job=job):
                self.agenda.after(0.0, partial(self.feed, JobStored(job=job)))
            case EndJob(job=job):
                self._end(job, None)
            case FailJob(job=job, error=error) | RefuseJob(job=job, error=error):
                self._end(job, error)
            case ComputePlan():
                self.agenda.after(self.fleet.control.plan_s, lambda: self.feed(plan_answer(effect, self._planner)))
            case KeepBytes() | DropBytes() | ReadinessChanged():
                pass
            case _:
                assert_never(effect)

    def _note(self, fact: JobFact) -> None:
        now_s = self.agenda.now_s
        self.told.append((now_s, fact))
        match fact:
            case JobDelayed(reason=reason):
                self._delay = reason
            case ImagePlanned(explanation=explanation):
                self.timeline.mark(Mark(at_s=now_s, occasion=Occasion.EPOCH, text=f"plan: {explanation.chosen.label}"))
            case ImageReplanned(reason=reason, begin_step=step):
                told = f"re-plan from step {step}: {reason.replace('_', ' ')}"
                self.timeline.mark(Mark(at_s=now_s, occasion=Occasion.REPLAN, text=told))
            case AgentFailed(agent=agent, reason=reason):
                self.timeline.mark(Mark(at_s=now_s, occasion=Occasion.LOSS, text=reason, agent=agent))
            case ImageCompleted(report=report):
                told = f"picture {report.image_index} is done"
                self.timeline.mark(Mark(at_s=now_s, occasion=Occasion.PICTURE, text=told))
            case _:
                pass

    def _end(self, job: JobId, error: PolyrhythmError | None) -> None:
        self.error, self.ended_s = error, self.agenda.now_s
        text = f"{job} is done" if error is None else f"{job} failed: {error}"
        self.timeline.mark(Mark(at_s=self.agenda.now_s, occasion=Occasion.END, text=text))

    def _tick(self) -> None:
        self.feed(Tick())
        self.agenda.after(self._state.limits.tick_interval_s, self._tick)


def _last_change_s(device: DeviceDescription) -> float:
    """When the last thing happens to a device that may let a job go on or end it."""
    return max(device.joins_at_s, device.drained_at_s or 0.0, *(at_s for at_s in (device.course.ends_s,) if at_s < inf))
