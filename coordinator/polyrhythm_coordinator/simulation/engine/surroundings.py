"""What an epoch finds around it: the world as it sees it, and what each worker remembers of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from polyrhythm.ids import AgentId, EpochId, GangId
from polyrhythm.job.image import ImageSpec
from polyrhythm.session.events import AgentEvent
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.simulation.engine.agenda import Agenda
from polyrhythm_coordinator.simulation.engine.beat_clock import Pace
from polyrhythm_coordinator.simulation.engine.timeline import Timeline

HELD_BOUNDARIES = 2


class Surroundings(Protocol):
    """What an epoch needs of the simulated world."""

    agenda: Agenda
    timeline: Timeline

    def say(self, agent: AgentId, event: AgentEvent) -> None:
        """A worker tells the coordinator something."""
        ...

    def truth(self, image: ImageSpec) -> PlanRequest:
        """What a picture costs every device at speed 1, and the links as they are."""
        ...

    def working_beside(self, epoch: EpochId) -> frozenset[AgentId]:
        """Devices that compute for other epochs now."""
        ...

    def paces(self) -> Mapping[AgentId, Pace]:
        """Speeds over time."""
        ...

    def form_gang_s(self, gang: GangId, agents: tuple[AgentId, ...]) -> float:
        """Seconds to form a gang; 0 where it stands already."""
        ...


@dataclass(slots=True)
class Memory:
    """What one worker keeps of a job: the embeddings, and the boundaries that it holds."""

    encoded: bool = False
    boundaries: tuple[int, ...] = ()

    def keep(self, step: int) -> None:
        """Keeps a boundary; of older ones only the last."""
        before = tuple(other for other in self.boundaries if other < step)
        self.boundaries = (*before, step)[-HELD_BOUNDARIES:]
