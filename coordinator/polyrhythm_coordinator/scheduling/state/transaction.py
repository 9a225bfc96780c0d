"""One transition in the making: the state so far and the effects so far.

It lives during one call of ``transition`` and never leaves it, so its being mutable is seen by nobody; it is passed on
as ``tx``. It owns how parts of the state are replaced and how names are counted; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.session.commands import AgentCommand
from polyrhythm_coordinator.scheduling.state.effects import Effect, FailJob, JobFact, SendCommand, Tell
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.inquiry import Inquiry
from polyrhythm_coordinator.scheduling.state.job import Job, Picture
from polyrhythm_coordinator.scheduling.state.state import Agent, State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits

K = TypeVar("K")
V = TypeVar("V")


class Transaction:
    """State and effects of one transition.

    Attributes:
        state: so far.
        clock_s: when the event came, for what is measured and told.
        now_s: the same as patience counts it, without the time in which the coordinator itself stood still.
        effects: so far, in order.
    """

    def __init__(self, state: State, clock_s: float) -> None:
        self.state = state
        self.clock_s = clock_s
        self.now_s = state.clock.patient_now_s(clock_s, state.limits.unticked_s)
        self.effects: list[Effect] = []

    @property
    def limits(self) -> Limits:
        """Patience."""
        return self.state.limits

    def number(self) -> int:
        """A number that was never given before."""
        number = self.state.next_number
        self.state = replace(self.state, next_number=number + 1)
        return number

    def new_epoch_name(self) -> EpochId:
        """A name for an epoch."""
        return EpochId(incarnation=self.state.incarnation, counter=self.number())

    def new_gang_name(self) -> GangId:
        """A name for a process group."""
        return GangId(f"gang-{self.state.incarnation}-{self.number()}")

    def emit(self, effect: Effect) -> None:
        """Adds an effect."""
        self.effects.append(effect)

    def send(self, name: AgentId, command: AgentCommand) -> None:
        """Sends a command to a connected agent.

        Raises:
            KeyError: it is not connected; a bug of the caller.
        """
        self.emit(SendCommand(agent=name, session=self.state.agents[name].session, command=command))

    def tell(self, job: JobId, fact: JobFact, *, image_index: int | None = None) -> None:
        """Says a fact about a job, if that has not ended; once, however often it is found so in this transition."""
        effect = Tell(job=job, fact=fact, image_index=image_index)
        if job in self.state.jobs and effect not in self.effects:
            self.emit(effect)

    def put_agent(self, agent: Agent) -> None:
        """Adds or replaces an agent."""
        self.state = replace(self.state, agents={**self.state.agents, agent.agent: agent})

    def put_wanted(self, wanted: Job | Inquiry) -> None:
        """Replaces what a client wants."""
        match wanted:
            case Job():
                self.put_job(wanted)
            case Inquiry():
                self.put_inquiry(wanted)

    def put_inquiry(self, inquiry: Inquiry) -> None:
        """Adds or replaces an inquiry."""
        self.state = replace(self.state, inquiries={**self.state.inquiries, inquiry.job: inquiry})

    def put_job(self, job: Job) -> None:
        """Adds or replaces a job."""
        self.state = replace(self.state, jobs={**self.state.jobs, job.job: job})

    def put_picture(self, picture: Picture) -> None:
        """Adds or replaces a picture that is being made."""
        job = self.state.jobs[picture.job]
        self.put_job(replace(job, pictures={**job.pictures, picture.index: picture}))

    def end_job(self, name: JobId, effect: Effect) -> None:
        """Removes a job, with the effect that tells its client."""
        self.state = replace(
            self.state,
            jobs=without(self.state.jobs, name),
            queue=tuple(other for other in self.state.queue if other != name),
        )
        self.emit(effect)

    def fail_job(self, name: JobId, error: PolyrhythmError) -> None:
        """Ends a job with an error."""
        self.end_job(name, FailJob(job=name, error=error))

    def end_inquiry(self, name: JobId, *effects: Effect) -> None:
        """Removes an inquiry, with the effects that tell its client."""
        self.state = replace(self.state, inquiries=without(self.state.inquiries, name))
        self.effects.extend(effects)

    def put_epoch(self, epoch: Epoch) -> None:
        """Adds or replaces an epoch."""
        self.state = replace(self.state, epochs={**self.state.epochs, epoch.epoch: epoch})

    def drop_gang(self, members: tuple[AgentId, ...]) -> None:
        """Forgets a process group and its dictionary: the next epoch of these members forms a new one."""
        gang = self.state.gangs.get(members)
        if gang is None:
            return
        self.state = replace(
            self.state, gangs=without(self.state.gangs, members), stores=without(self.state.stores, gang)
        )


def without(mapping: Mapping[K, V], key: K) -> dict[K, V]:
    """A mapping less one key."""
    return {other: value for other, value in mapping.items() if other != key}
