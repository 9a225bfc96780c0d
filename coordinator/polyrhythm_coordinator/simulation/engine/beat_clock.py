"""One beat on a virtual clock, layer by layer: who computes when, and who waits for whose versions.

In every layer of an active step a member hands over its keys and values, one receiver after the other on its own wire,
and waits for the versions that the step reads (docs/architecture.md, "Which version a step reads"). After the last step
x and x0 follow over the same wires, and the control record goes round the ring; there everybody meets.

Own to this model: all layers send alike, receivers do not share a wire, and computing that is lost to messages
(``Link.handling_s``) spreads evenly over a displaced step, while a synchronous one waits for those messages anyway, as
in the cost model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Exchange
from polyrhythm_coordinator.scheduling.planning.forecast import segment_forward_s
from polyrhythm_coordinator.scheduling.planning.message_counts import versions_sent
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.simulation.fleet_files.speed_course import OWN_SPEED, SpeedCourse


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a member computes: its profile in the request holds at speed 1.

    Attributes:
        course: its speed over time.
        overhead_s: seconds an active step, beside what the profile says; at speed 1.
    """

    course: SpeedCourse = OWN_SPEED
    overhead_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """One active step.

    Attributes:
        step: fine step.
        begin_s: when it begins.
        end_s: when it ends; infinite where somebody died on whom it waits.
        busy_s: computing of its own, messages that it handles included.
        overhead_s: beside that, not waiting for anybody.
    """

    step: int
    begin_s: float
    end_s: float
    busy_s: float
    overhead_s: float

    @property
    def wait_s(self) -> float:
        """Seconds that it waits for others; infinite where it never ends."""
        return max(0.0, self.end_s - self.begin_s - self.busy_s - self.overhead_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatTime:
    """One beat.

    Attributes:
        begin_s: when all members began.
        steps: active steps of each member.
        boundary_s: when all members had everybody's state and record.
        sent_bytes: by each member.
    """

    begin_s: float
    steps: Mapping[AgentId, tuple[StepTime, ...]]
    boundary_s: float
    sent_bytes: Mapping[AgentId, int]


@dataclass(frozen=True, slots=True)
class _Wire:
    """Where one member's versions go: seconds a layer occupies the wire, and the latency to each member."""

    receivers: frozenset[AgentId]
    layer_s: float
    handling_s: float
    size_bytes: int


class BeatClock:
    """Runs one beat.

    Args:
        beat: to run.
        following: what comes after it, which decides what is sent; None after the last one.
        request: the picture, each member's cost at speed 1, and the links as they truly are.
        paces: of all members.
        begin_s: when all members begin.
    """

    def __init__(
        self,
        beat: Beat,
        following: Beat | None,
        *,
        request: PlanRequest,
        paces: Mapping[AgentId, Pace],
        begin_s: float,
    ) -> None:
        self._beat = beat
        self._request = request
        self._paces = paces
        self._begin_s = begin_s
        self._layers = request.facts.layers
        self._messages = request.messages(max(1, len(beat.segment.agents) - 1))
        self._agents = beat.segment.agents
        self._active = {agent: beat.active_steps(agent) for agent in self._agents}
        self._wires = {agent: self._wires_of(agent, following) for agent in self._agents}
        self._time_s = dict.fromkeys(self._agents, begin_s)
        self._wire_free_s = dict.fromkeys(self._agents, begin_s)
        self._left_s: dict[tuple[AgentId, int], NDArray[np.float64]] = {}
        self._done: dict[AgentId, list[StepTime]] = {agent: [] for agent in self._agents}

    def run(self) -> BeatTime:
        """All steps, then the boundary."""
        for step in range(self._beat.begin_step, self._beat.end_step):
            working = [agent for agent in self._agents if step in self._active[agent]]
            if self._beat.segment.exchange is Exchange.SYNCHRONOUS and len(working) > 1:
                self._synchronous_step(step, working)
            else:
                for agent in working:
                    self._displaced_step(step, agent)
        return BeatTime(
            begin_s=self._begin_s,
            steps={agent: tuple(done) for agent, done in self._done.items()},
            boundary_s=self._boundary_s(),
            sent_bytes={agent: self._sent_bytes(agent) for agent in self._agents},
        )

    def _synchronous_step(self, step: int, working: list[AgentId]) -> None:
        """Everybody reads everybody's version of this very step, layer by layer."""
        begin_s = {agent: self._time_s[agent] for agent in working}
        worked_s = dict.fromkeys(working, 0.0)
        latency_s_AA = np.array([[0.0 if i == j else self._latency_s(i, j) for j in working] for i in working])
        own_AA = np.eye(len(working), dtype=np.bool_)
        layer_s = {agent: self._work_s(agent, handling_s=0.0) / self._layers for agent in working}
        for _ in range(self._layers):
            for agent in working:
                wire_s = max(self._wire_free_s[agent], self._time_s[agent])
                self._wire_free_s[agent] = wire_s + self._wires[agent][step].layer_s
            left_s_A = np.array([self._wire_free_s[agent] for agent in working])
            arrived_s_A = np.where(own_AA, -inf, left_s_A[:, None] + latency_s_AA).max(axis=0)
            for agent, arrived_s in zip(working, arrived_s_A.tolist(), strict=True):
                start_s = max(self._time_s[agent], arrived_s)
                end_s = self._finish_s(agent, start_s, layer_s[agent])
                worked_s[agent] += end_s - start_s if end_s < inf else 0.0
                self._time_s[agent] = end_s
        for agent in working:
            self._note(agent, step, begin_s[agent], worked_s[agent])

    def _displaced_step(self, step: int, agent: AgentId) -> None:
        """Reads each other member's last version before this step, as far as it is of this beat: older ones are there.

        Versions come in the order of steps, so all that are read here have been sent.
        """
        begin_s = time_s = self._time_s[agent]
        wire = self._wires[agent].get(step)
        arrived_s_L, taken_in_s = self._arrivals(step, agent)
        handling_s = taken_in_s + (wire.handling_s if wire else 0.0)
        layer_s = self._work_s(agent, handling_s=handling_s) / self._layers
        worked_s = 0.0
        published_s_L = np.empty(self._layers)
        for layer, arrived_s in enumerate(arrived_s_L.tolist()):
            published_s_L[layer] = time_s
            start_s = max(time_s, arrived_s)
            time_s = self._finish_s(agent, start_s, layer_s)
            worked_s += time_s - start_s if time_s < inf else 0.0
        self._time_s[agent] = time_s
        if wire is not None:
            self._send(agent, step, wire, published_s_L)
        self._note(agent, step, begin_s, worked_s, handling_s=handling_s)

    def _arrivals(self, step: int, agent: AgentId) -> tuple[NDArray[np.float64], float]:
        """When each layer's keys and values of others are there, and the computing that taking them in costs."""
        arrived_s_L = np.full(self._layers, -inf)
        taken_in_s = 0.0
        own = self._active[agent]
        before = own[own.index(step) - 1] if step > own[0] else self._beat.begin_step
        for sender in self._agents:
            versions = [k for k in self._active[sender] if k < step]
            if sender == agent or not versions or agent not in self._wires[sender][versions[-1]].receivers:
                continue
            left_s_L = self._left_s[sender, versions[-1]]
            arrived_s_L = np.maximum(arrived_s_L, left_s_L + self._latency_s(sender, agent))
            if versions[-1] >= before:
                link = self._request.link(agent, sender)
                size_bytes = self._version_bytes(sender, agent)
                taken_in_s += self._messages * link.handling_s + size_bytes * link.handling_s_per_byte
        return arrived_s_L, taken_in_s

    def _send(self, agent: AgentId, step: int, wire: _Wire, published_s_L: NDArray[np.float64]) -> None:
        left_s_L = np.empty(self._layers)
        free_s = self._wire_free_s[agent]
        for layer, published_s in enumerate(published_s_L.tolist()):
            free_s = max(free_s, published_s) + wire.layer_s
            left_s_L[layer] = free_s
        self._wire_free_s[agent] = free_s
        self._left_s[agent, step] = left_s_L

    def _boundary_s(self) -> float:
        """The latent and x0 follow the versions over the same wires; then the control records go round the ring."""
        end_s = max(self._time_s.values())
        if len(self._agents) == 1:
            return end_s
        for agent in self._agents:
            rows = self._beat.segment.of(agent).rows
            left_s = max(self._wire_free_s[agent], self._time_s[agent])
            for receiver in self._agents:
                if receiver != agent and rows.count:
                    link = self._request.link(agent, receiver)
                    left_s += self._request.boundary_bytes(rows) / link.bytes_per_s
                    end_s = max(end_s, left_s + link.latency_s)
        latency_s = max(self._latency_s(i, j) for i in self._agents for j in self._agents if i != j)
        end_s += (len(self._agents) - 1) * latency_s
        # Whoever has died before it sends no record, even where it held no rows.
        return inf if any(self._paces[agent].course.ends_s < end_s for agent in self._agents) else end_s

    def _wires_of(self, agent: AgentId, following: Beat | None) -> dict[int, _Wire]:
        """By active step, what a member sends to whom."""
        receivers: dict[int, set[AgentId]] = {step: set() for step in self._active[agent]}
        for receiver in self._agents:
            if receiver != agent:
                for version in versions_sent(self._beat, following, agent, receiver):
                    receivers[version].add(receiver)
        return {step: self._wire(agent, receiving) for step, receiving in receivers.items()}

    def _wire(self, agent: AgentId, receiving: set[AgentId]) -> _Wire:
        sizes_bytes = {
            receiver: self._version_bytes(agent, receiver) for receiver in self._agents if receiver in receiving
        }
        links = [(self._request.link(agent, receiver), size_bytes) for receiver, size_bytes in sizes_bytes.items()]
        return _Wire(
            receivers=frozenset(receiving),
            layer_s=sum(size_bytes / self._layers / link.bytes_per_s for link, size_bytes in links),
            handling_s=sum(
                self._messages * link.handling_s + size_bytes * link.handling_s_per_byte for link, size_bytes in links
            ),
            size_bytes=sum(sizes_bytes.values()),
        )

    def _version_bytes(self, sender: AgentId, receiver: AgentId) -> int:
        segment = self._beat.segment
        return self._request.version_bytes(segment.of(sender).rows, segment.of(receiver).rows)

    def _sent_bytes(self, agent: AgentId) -> int:
        rows = self._beat.segment.of(agent).rows
        versions_bytes = sum(wire.size_bytes for wire in self._wires[agent].values())
        return versions_bytes + self._request.boundary_bytes(rows) * (len(self._agents) - 1)

    def _work_s(self, agent: AgentId, *, handling_s: float) -> float:
        forward_s = segment_forward_s(agent, self._beat.segment, self._request.profile_of)
        return forward_s + self._paces[agent].overhead_s + handling_s

    def _finish_s(self, agent: AgentId, begin_s: float, work_s: float) -> float:
        return self._paces[agent].course.finish_s(begin_s, work_s)

    def _latency_s(self, sender: AgentId, receiver: AgentId) -> float:
        return self._request.link(sender, receiver).latency_s

    def _note(self, agent: AgentId, step: int, begin_s: float, worked_s: float, *, handling_s: float = 0.0) -> None:
        overhead_s = self._paces[agent].overhead_s
        overhead_s *= worked_s / self._work_s(agent, handling_s=handling_s)
        time = StepTime(
            step=step,
            begin_s=begin_s,
            end_s=self._time_s[agent],
            busy_s=worked_s - overhead_s,
            overhead_s=overhead_s,
        )
        self._done[agent].append(time)
