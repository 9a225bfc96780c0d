"""Everything the scheduling core knows, frozen. Transitions replace it; nobody else changes it.

Mappings are plain dicts that are never written to after they were put in here. Invariants that span several parts are
checked by ``polyrhythm_coordinator.scheduling.state.invariants``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.model.facts import DeviceFacts, ModelFacts, SoftwareVersion
from polyrhythm.plan.profile import Link, Workload
from polyrhythm.process.patient_clock import PatientClock
from polyrhythm_coordinator.scheduling.planning.dtypes import may_mix
from polyrhythm_coordinator.scheduling.planning.measured_profiles import MeasuredProfile, ProfileKey, profile_key
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.events import SessionId
from polyrhythm_coordinator.scheduling.state.inquiry import Inquiry
from polyrhythm_coordinator.scheduling.state.job import Applicant, Job, Picture, Wanted
from polyrhythm_coordinator.scheduling.state.rendezvous_store import RendezvousStore
from polyrhythm_coordinator.scheduling.state.timeouts import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """An unanswered MeasureProfile.

    Attributes:
        number: of the request.
        workload: what is measured.
        asked_s: when it was sent.
        together: whether all agents of the host measure at the same time.
        beside_work: whether others of the host work on a picture meanwhile.
        stopped: nobody waits for it any more, and the agent was told.
    """

    number: int
    workload: Workload
    asked_s: float
    together: bool = False
    beside_work: bool = False
    stopped: bool = False

    def is_late(self, now_s: float, limits: Limits) -> bool:
        """Whether nobody waits for it any longer: not who asked, and nobody else of the host."""
        return now_s >= self.asked_s + limits.profile_timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One connected agent.

    Attributes:
        agent: its name.
        session: its stream.
        device: what it computes on.
        software: versions that decide a picture's bytes.
        last_heard_s: when the last message came.
        worker_ready: whether its worker takes commands; False while it loads.
        trouble: how its last worker was lost, as long as no other one is ready.
        models: what the worker holds; empty while it loads.
        usable_bytes: memory that its worker may use, what it holds already included: as last read while it was idle,
            or as registered until then.
        ceilings_bytes: less than that, for workloads on which its memory ran out.
        measuring: what it measures now.
        epoch: what its worker runs, until that has ended.
    """

    agent: AgentId
    session: SessionId
    device: DeviceFacts
    software: tuple[SoftwareVersion, ...]
    last_heard_s: float
    usable_bytes: int
    ceilings_bytes: Mapping[Workload, int] = field(default_factory=dict[Workload, int])
    worker_ready: bool = False
    trouble: str = ""
    models: tuple[ModelFacts, ...] = ()
    measuring: Measuring | None = None
    epoch: EpochId | None = None

    @property
    def state(self) -> AgentState:
        """As it is listed, drained or not."""
        if not self.worker_ready:
            return AgentState.LOADING
        if self.epoch is not None:
            return AgentState.WORKING
        return AgentState.READY if self.measuring is None else AgentState.MEASURING

    @property
    def host(self) -> str:
        """The machine that it is in; one of its own where that is not known."""
        return self.device.kernel or self.device.uuid

    def profile_key(self, facts: ModelFacts, workload: Workload) -> ProfileKey:
        """Under which its profile for a workload on these weights is kept; its arithmetic is its own."""
        return profile_key(self.device, self.software, self.own_facts(facts) or facts, workload)

    def own_facts(self, facts: ModelFacts) -> ModelFacts | None:
        """Its own facts of the same weights, in its own arithmetic; None where it holds none that may be mixed."""
        return next((held for held in self.models if may_mix(held, facts)), None)

    def holds(self, facts: ModelFacts) -> bool:
        """Whether it holds the same weights in an arithmetic that may be mixed with this one."""
        return self.own_facts(facts) is not None

    def usable_bytes_for(self, workload: Workload) -> int:
        """What a picture of this size may take of its memory."""
        return min(self.usable_bytes, self.ceilings_bytes.get(workload, self.usable_bytes))

    def view(self, *, drained: bool) -> AgentView:
        """For listing; a drained agent is draining as long as it is in an epoch."""
        state = self.state
        if drained:
            state = AgentState.DRAINED if self.epoch is None else AgentState.DRAINING
        return AgentView(
            name=self.agent,
            state=state,
            device=self.device,
            models=tuple(model.as_told() for model in self.models),
            software=self.software,
            trouble=self.trouble,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """An agent whose stream has ended, which may well be back in a moment.

    Attributes:
        at_s: when it ended.
        models: what its worker held; empty where it was loading.
    """

    at_s: float
    models: tuple[ModelFacts, ...]

    def may_hold(self, facts: ModelFacts) -> bool:
        """Whether it may come back with these weights."""
        return not self.models or any(may_mix(held, facts) for held in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The whole state of the core.

    Attributes:
        incarnation: of this coordinator; part of every name that it makes, so that a restarted one never reuses a name
            under which agents still hold something.
        limits: patience.
        agents: connected ones, by name.
        departed: those that were connected a moment ago, by name.
        drained: names that take no work until they are put back, connected or not.
        applicants: requests that are being checked, in order of arrival.
        inquiries: that are being answered, in order of arrival.
        jobs: accepted and not ended.
        queue: all jobs, first come first; pictures of the first ones may be running.
        epochs: runs that some agent has not left yet, those of cancelled jobs included.
        profiles: measured costs.
        links: measured links by the device UUIDs of their ends.
        gangs: formed and intact process groups by their members in rank order.
        stores: dictionaries of the gangs.
        holders: agents that may hold embeddings and boundaries of a job.
        ready: readiness as last told.
        stopping: the coordinator ends.
        clock: by which patience is counted; the coordinator is seen to run with every Tick.
        next_number: counts names of gangs and epochs, and numbers of requests and plan tasks.
    """

    incarnation: int
    limits: Limits
    agents: Mapping[AgentId, Agent] = field(default_factory=dict[AgentId, Agent])
    departed: Mapping[AgentId, Departure] = field(default_factory=dict[AgentId, Departure])
    drained: frozenset[AgentId] = frozenset()
    applicants: Mapping[JobId, Applicant] = field(default_factory=dict[JobId, Applicant])
    inquiries: Mapping[JobId, Inquiry] = field(default_factory=dict[JobId, Inquiry])
    jobs: Mapping[JobId, Job] = field(default_factory=dict[JobId, Job])
    queue: tuple[JobId, ...] = ()
    epochs: Mapping[EpochId, Epoch] = field(default_factory=dict[EpochId, Epoch])
    profiles: Mapping[ProfileKey, MeasuredProfile] = field(default_factory=dict[ProfileKey, MeasuredProfile])
    links: Mapping[tuple[str, str], Link] = field(default_factory=dict[tuple[str, str], Link])
    gangs: Mapping[tuple[AgentId, ...], GangId] = field(default_factory=dict[tuple[AgentId, ...], GangId])
    stores: Mapping[GangId, RendezvousStore] = field(default_factory=dict[GangId, RendezvousStore])
    holders: Mapping[JobId, frozenset[AgentId]] = field(default_factory=dict[JobId, frozenset[AgentId]])
    ready: bool = False
    stopping: bool = False
    clock: PatientClock = field(default_factory=PatientClock)
    next_number: int = 1

    @property
    def open_agents(self) -> tuple[Agent, ...]:
        """Connected ones that are not drained."""
        return tuple(agent for agent in self.agents.values() if agent.agent not in self.drained)

    def returning(self, now_s: float) -> tuple[AgentId, ...]:
        """Agents that are not drained, are not connected, and may be back in a moment; sorted by name."""
        return tuple(
            name
            for name, departure in sorted(self.departed.items())
            if name not in self.drained and now_s < departure.at_s + self.limits.return_grace_s
        )

    def wanted(self, job: JobId) -> Wanted:
        """A job or an inquiry.

        Raises:
            KeyError: it has ended.
        """
        return self.jobs.get(job) or self.inquiries[job]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All that are being made, in order of their jobs."""
        return tuple(picture for job in self.jobs.values() for picture in job.pictures.values())

    def picture_of(self, epoch: Epoch) -> Picture | None:
        """What an epoch works on; None once its job has ended."""
        job = self.jobs.get(epoch.job)
        return None if job is None else job.pictures.get(epoch.image_index)

    def view(self, name: AgentId) -> AgentView:
        """A connected agent.

        Raises:
            KeyError: it is not.
        """
        return self.agents[name].view(drained=name in self.drained)

    def views(self) -> tuple[AgentView, ...]:
        """All connected agents, sorted by name."""
        return tuple(map(self.view, sorted(self.agents)))


def loading_message(agents: Iterable[Agent]) -> str:
    """That the workers of these agents are loading, in words, and what became of the ones before."""
    agents = tuple(agents)
    names = ", ".join(agent.agent for agent in agents)
    troubles = (f"; the one of {agent.agent} before: {agent.trouble}" for agent in agents if agent.trouble)
    return f"the workers of {names} are loading{''.join(troubles)}"
