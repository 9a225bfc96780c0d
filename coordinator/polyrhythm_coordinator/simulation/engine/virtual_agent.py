"""One agent of a described fleet: daemon and worker in one, as the coordinator sees them. Computes nothing.

Comes, loads, measures, joins epochs, dies. Reports of progress wait for the next heartbeat, as an agent's do.
"""

from __future__ import annotations

from typing import Protocol, assert_never

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import SoftwareVersion
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm.session.commands import (
    AbortEpoch,
    AgentCommand,
    CancelEpoch,
    CountTokens,
    ExtendPlan,
    ForgetJob,
    MeasureProfile,
    StartEpoch,
    StopMeasuring,
    Welcome,
)
from polyrhythm.session.events import (
    PROTOCOL_VERSION,
    AgentEvent,
    BeatDone,
    EpochOutcome,
    Heartbeat,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    WorkerReady,
)
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_coordinator.scheduling.state.events import AgentDrained, AgentEventReceived, Event, SessionId
from polyrhythm_coordinator.simulation.engine.agenda import Agenda
from polyrhythm_coordinator.simulation.engine.gang_run import GangRun
from polyrhythm_coordinator.simulation.engine.surroundings import Memory
from polyrhythm_coordinator.simulation.engine.timeline import Mark, Occasion, Timeline
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription

SOFTWARE = (SoftwareVersion(name="simulated", version="1"),)


class AgentWorld(Protocol):
    """What an agent needs of the simulated world.

    Attributes:
        agenda: the virtual clock.
        timeline: of what happens.
        fleet: as described.
    """

    agenda: Agenda
    timeline: Timeline
    fleet: FleetDescription

    def feed(self, event: Event) -> None:
        """Something happens to the coordinator at once."""
        ...

    def connect(self, agent: VirtualAgent) -> SessionId:
        """Opens an agent's stream."""
        ...

    def deliver(self, agent: AgentId, session: SessionId, event: AgentEvent) -> None:
        """A message is on its way to the coordinator."""
        ...

    def hang_up(self, agent: AgentId, session: SessionId, reason: str) -> None:
        """An agent's stream breaks."""
        ...

    def run_of(self, epoch: EpochId) -> GangRun | None:
        """An epoch that has been started."""
        ...

    def open_run(self, command: StartEpoch) -> GangRun:
        """An epoch; its first member opens it."""
        ...

    def lose_member(self, agent: AgentId, *, noticed: bool) -> None:
        """A worker dies: whatever it took part in breaks."""
        ...


class VirtualAgent:
    """One device's agent.

    Args:
        device: as described.
        world: that it lives in.
    """

    def __init__(self, device: DeviceDescription, world: AgentWorld) -> None:
        self._device = device
        self._world = world
        self._session: SessionId | None = None
        self._alive = True
        self._held: list[AgentEvent] = []
        self._measuring: int | None = None
        self._memories: dict[JobId, Memory] = {}

    def begin(self) -> None:
        """Arranges its life."""
        device, agenda = self._device, self._world.agenda
        if device.joins_at_s:
            agenda.at(device.joins_at_s, self._join)
        else:
            self._session = self._world.connect(self)
            ready = AgentEventReceived(agent=device.agent, session=self._session, event=self._ready())
            self._world.feed(ready)  # without the way: it was there before
        agenda.at(device.course.ends_s, self._die)
        if device.drained_at_s is not None:
            agenda.at(device.drained_at_s, self._drain)
        for at_s, speed in device.course.changes:
            agenda.at(at_s, lambda speed=speed: self._mark(Occasion.LOAD, f"speed {speed:g}"))

    def register(self) -> Register:
        """How it introduces itself."""
        device = self._device
        return Register(agent=device.agent, protocol_version=PROTOCOL_VERSION, software=SOFTWARE, device=device.facts)

    def receive(self, session: SessionId, command: AgentCommand) -> None:
        """Takes a command, unless it is gone or the command was for an earlier stream."""
        if not self._alive or session != self._session:
            return
        agent = self._device.agent
        match command:
            case Welcome(heartbeat_interval_s=interval_s):
                self._beat(interval_s)
            case CountTokens(request_id=request_id, texts=texts):
                counts = tuple(min(len(text.split()), self._world.fleet.facts.token_limit) for text in texts)
                self.say(TokensCounted(request_id=request_id, counts=counts))
            case MeasureProfile(request_id=request_id, workload=workload, together=together):
                profile = self._profile(workload, together=together)
                measured = ProfileMeasured(request_id=request_id, profile=profile)
                self._measuring = request_id
                self._world.agenda.after(self._world.fleet.control.profile_s, lambda: self._end_measuring(measured))
            case StopMeasuring(request_id=request_id):
                self._end_measuring(RequestFailed(request_id=request_id, message="nobody waits for it"))
            case StartEpoch():
                memory = self._memories.setdefault(command.job, Memory())
                self._world.open_run(command).start(agent, command, memory)
            case ExtendPlan() | CancelEpoch() | AbortEpoch():
                self._take_change(command)
            case ForgetJob(job=job):
                self._memories.pop(job, None)
            case StoreReply():
                pass
            case _:
                assert_never(command)

    def say(self, event: AgentEvent) -> None:
        """Tells the coordinator something; what may wait for the next heartbeat does, as in an agent (``can_wait``)."""
        if not self._alive or self._session is None:
            return
        waits = isinstance(event, StepDone) or (
            isinstance(event, BeatDone) and not (event.report.last or event.report.changed)
        )
        if waits and self._held and isinstance(self._held[-1], StepDone):
            self._held.pop()  # a newer report says more
        self._held.append(event)
        if not waits:
            self._flush()

    def _end_measuring(self, answer: ProfileMeasured | RequestFailed) -> None:
        """Tells the end of a measurement, the first one of two."""
        if self._measuring == answer.request_id:
            self._measuring = None
            self.say(answer)

    def cut_off(self, session: SessionId) -> None:
        """The coordinator ends its stream: it counts as lost and stays away."""
        if session == self._session:
            self._session = None
            self._world.lose_member(self._device.agent, noticed=self._alive)
            self._alive = False

    def _take_change(self, command: ExtendPlan | CancelEpoch | AbortEpoch) -> None:
        """What a running epoch is told; one that was never started here is ignored."""
        run = self._world.run_of(command.epoch)
        if run is None:
            return
        match command:
            case ExtendPlan():
                run.extend(self._device.agent, command)
            case CancelEpoch():
                run.cancel(self._device.agent)
            case AbortEpoch(reason=reason):
                run.leave(self._device.agent, EpochOutcome.ABORTED, reason)

    def _flush(self) -> None:
        held, self._held = self._held, []
        for event in held:
            if self._session is not None:
                self._world.deliver(self._device.agent, self._session, event)

    def _beat(self, interval_s: float) -> None:
        """Speaks every interval, as long as it lives."""
        if not self._alive or self._session is None:
            return
        if not self._held:
            self._held.append(Heartbeat(sequence=0))
        self._flush()
        self._world.agenda.after(interval_s, lambda: self._beat(interval_s))

    def _join(self) -> None:
        self._mark(Occasion.JOIN, "joins")
        self._session = self._world.connect(self)
        self.say(self._ready())

    def _ready(self) -> WorkerReady:
        return WorkerReady(models=(self._world.fleet.facts,))

    def _die(self) -> None:
        if self._alive:
            silently = self._device.dies_silently
            self._mark(Occasion.DEATH, "falls silent" if silently else "dies")
            self._leave("connection reset", noticed=not silently)

    def _drain(self) -> None:
        if self._alive:
            self._mark(Occasion.DRAIN, "is drained")
            self._world.feed(AgentDrained(agent=self._device.agent, undo=False))

    def _leave(self, reason: str, *, noticed: bool) -> None:
        self._alive = False
        self._memories.clear()
        self._world.lose_member(self._device.agent, noticed=noticed)
        # What it was computing when its run broke, a moment ago, does not go on without it.
        self._world.timeline.cut(self._world.agenda.now_s, self._device.agent)
        if noticed and self._session is not None:
            self._world.hang_up(self._device.agent, self._session, reason)

    def _mark(self, occasion: Occasion, text: str) -> None:
        mark = Mark(at_s=self._world.agenda.now_s, occasion=occasion, text=text, agent=self._device.agent)
        self._world.timeline.mark(mark)

    def _profile(self, workload: Workload, *, together: bool) -> Profile:
        """What it measures now, at the speed that it has now, while the others of its host measure too or rest."""
        speed = self._device.course.at(self._world.agenda.now_s)
        true = self._world.fleet.profile(self._device, _image_of(workload))
        line = true.line(alone=not together)
        return Profile(
            agent=true.agent,
            workload=workload,
            fixed_s=line.fixed_s / speed,
            per_row_s=line.per_row_s / speed,
            encode_s=true.encode_s / speed,
            decode_s=true.decode_s / speed,
            samples=true.samples,
        )


def _image_of(workload: Workload) -> ImageSpec:
    """Any picture of a workload."""
    return ImageSpec(
        model=workload.model,
        prompt="profile",
        width_px=workload.width_px,
        height_px=workload.height_px,
        steps=1,
        seed=0,
        guidance=4.0 if workload.batch == 2 else 1.0,
        sampler=next(iter(Sampler)),
        quality=Quality.EXACT,
    )
