"""Cost model: predicted seconds of a plan on measured devices and links (STADI's cost, made a closed form here).

Owns every formula of time. Chooses nothing. The predictions:

* A forward takes ``t_i(rows) = fixed + per_row * rows``, as the agent measured it: by one line where another agent of
  its host holds rows in the same segment, by the other where none does.
* A **synchronous** step hides nothing of the exchange ``x_i = bytes_i / rate + layers * latency``: in every layer,
  everybody waits for everybody's keys and values. Its length is the largest mean of a cycle of such waits. An agent
  never waits for its own message, so a cycle of one is ``t_i`` (or its wire, if that is slower), and the worst cycle of
  two is the mean of the two largest ``t_i + x_i``; longer cycles average in faster agents. The time between two
  exchanges varies, and the latest member counts at each: that adds the mean of the largest of normal times less the
  largest of their means (``unevenness``).
* A **displaced** step takes ``max_i (t_i / s_i + h_i)``: compute, or the wire if that is slower. ``h_i`` is the
  computing that a device loses to messages which its own cores send and take in (not in the paper; in a synchronous
  step it waits for them anyway). Nobody waits for a version as long as a layer's transfer takes no longer than a
  layer's compute. Let all agents keep the pace of the slowest: layer l of step k of agent i begins at fine time ``k +
  s_i l / layers``. A reader j at step k' reads it at ``k' + s_j l / layers``, and with strides 1 and 2 that is later
  by one of the reader's layers or more. (With stride 4 beside stride 1 it is not, and this model is too low.)
* A **boundary** costs the transfer of x and x0 and one all-gather of the control record.

Against a simulated clock that runs every layer and every message, this is exact without communication, within 1 % while
messages take a fraction of the compute, and up to 15 % low where the wire is the bottleneck of agents with different
strides. Not modelled: a speed that varies in time, receivers that share a wire. What fits is in ``memory_model``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from polyrhythm.errors import InvalidArgumentError, NotFoundError
from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import AgentPrediction, Prediction
from polyrhythm.plan.plan import Exchange, Plan, Segment
from polyrhythm.plan.profile import Profile
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.forecast import segment_forward_s
from polyrhythm_coordinator.scheduling.planning.memory_model import memory_need
from polyrhythm_coordinator.scheduling.planning.message_counts import sent_bytes
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.unevenness import later_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """What the row partition balances: seconds a fine step, ``(agents, rows)``, column r for r + 1 rows.

    Attributes:
        alone_s_AR: of an agent that nobody holds up: compute, or its wire if that is slower.
        displaced_s_AR: the same with what it loses to messages that come and go meanwhile.
        exposed_s_AR: of computing and then sending, nothing hidden.
    """

    alone_s_AR: NDArray[np.float64]
    displaced_s_AR: NDArray[np.float64]
    exposed_s_AR: NDArray[np.float64]

    def capped(self, rows_max: Sequence[int]) -> StepCosts:
        """The same where more rows than these take for ever, one number an agent: they do not fit."""
        rows_R = np.arange(1, self.alone_s_AR.shape[1] + 1, dtype=np.int64)
        beyond_AR: NDArray[np.bool_] = rows_R > np.array(rows_max, dtype=np.int64)[:, None]
        if not beyond_AR.any():
            return self
        alone_s_AR, displaced_s_AR, exposed_s_AR = (
            np.where(beyond_AR, np.inf, costs_s_AR)
            for costs_s_AR in (self.alone_s_AR, self.displaced_s_AR, self.exposed_s_AR)
        )
        return StepCosts(alone_s_AR=alone_s_AR, displaced_s_AR=displaced_s_AR, exposed_s_AR=exposed_s_AR)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCosts:
    """What messages cost, from each agent (row) to each other one (column); 0 on the diagonal.

    Attributes:
        latency_s_AA: of a message.
        wire_s_AA: that the wire is occupied by a byte.
        message_s_AA: computing that the row's agent loses to a message with the column's, in either direction.
        byte_s_AA: the same to a byte of it.
    """

    latency_s_AA: NDArray[np.float64]
    wire_s_AA: NDArray[np.float64]
    message_s_AA: NDArray[np.float64]
    byte_s_AA: NDArray[np.float64]

    @staticmethod
    def looked_up(request: PlanRequest, agents: Sequence[AgentId]) -> LinkCosts:
        """The costs of the links that a request names or assumes."""
        links_AA = [[None if i == j else request.link(i, j) for j in agents] for i in agents]
        return LinkCosts(
            latency_s_AA=np.array([[link.latency_s if link else 0.0 for link in row] for row in links_AA]),
            wire_s_AA=np.array([[1.0 / link.bytes_per_s if link else 0.0 for link in row] for row in links_AA]),
            message_s_AA=np.array([[link.handling_s if link else 0.0 for link in row] for row in links_AA]),
            byte_s_AA=np.array([[link.handling_s_per_byte if link else 0.0 for link in row] for row in links_AA]),
        )

    def among(self, chosen: Sequence[int]) -> LinkCosts:
        """The costs among some of the agents, by their indices."""
        square = np.ix_(chosen, chosen)
        return LinkCosts(
            latency_s_AA=self.latency_s_AA[square],
            wire_s_AA=self.wire_s_AA[square],
            message_s_AA=self.message_s_AA[square],
            byte_s_AA=self.byte_s_AA[square],
        )


@dataclass(frozen=True, kw_only=True)  # without slots: the arrays below are computed once and kept
class GangCost:
    """Seconds of the steps of one gang. Shape letters: A agents in rank order, R rows, K any number of row counts.

    Attributes:
        request: picture, profiles and links, with the sizes of what the gang exchanges (``PlanRequest.among``).
        agents: the gang in rank order, or those members of it that hold rows.
        known_links: its links, where they were looked up before.
    """

    request: PlanRequest
    agents: tuple[AgentId, ...]
    known_links: LinkCosts | None = field(default=None, compare=False, repr=False)

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """Profiles in rank order."""
        return tuple(self.request.profile_of[agent] for agent in self.agents)

    @cached_property
    def links(self) -> LinkCosts:
        """Links among the members."""
        return self.known_links or LinkCosts.looked_up(self.request, self.agents)

    @cached_property
    def _affine_s_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``fixed_s`` and ``per_row_s`` of the members, all of them at work."""
        profiles = self.profiles
        lines = [profile.line(alone=profile.is_alone_among(profiles)) for profile in profiles]
        return np.array([line.fixed_s for line in lines]), np.array([line.per_row_s for line in lines])

    @cached_property
    def _latencies_s_A(self) -> NDArray[np.float64]:
        """Longest latency from each member to any other; 0 for one alone."""
        return self.links.latency_s_AA.max(axis=1)

    def restricted(self, agents: tuple[AgentId, ...]) -> GangCost:
        """The cost of some of the members as a gang of their own: links are not looked up again.

        Args:
            agents: in rank order.
        """
        if agents == self.agents:
            return self
        if agents not in self._parts:
            links = self.links.among([self._index_of[agent] for agent in agents])
            self._parts[agents] = GangCost(request=self.request, agents=agents, known_links=links)
        return self._parts[agents]

    @cached_property
    def _parts(self) -> dict[tuple[AgentId, ...], GangCost]:
        return {}

    @cached_property
    def _index_of(self) -> dict[AgentId, int]:
        return {agent: index for index, agent in enumerate(self.agents)}

    def compute_s_AK(self, rows_AK: NDArray[np.int64], strides: tuple[int, ...]) -> NDArray[np.float64]:
        """Seconds a fine step that each member computes for some rows, all of them at work."""
        fixed_s_A, per_row_s_A = self._affine_s_A
        forward_s_AK = fixed_s_A[:, None] * (rows_AK > 0) + per_row_s_A[:, None] * rows_AK
        return forward_s_AK / np.array(strides)[:, None]

    def wire_s_AK(
        self, rows_AK: NDArray[np.int64], strides: tuple[int, ...], working_A: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Seconds a fine step that the rows of each member occupy its wire, sent to all who have rows.

        Of strides that divide each other, peer ``j`` reads one version of ``i`` every ``max(s_i, s_j)`` fine steps.
        """
        strides_A = np.array(strides)
        versions_AA = working_A / np.maximum(strides_A[:, None], strides_A)
        byte_s_A = (self.links.wire_s_AA * versions_AA).sum(axis=1)
        return byte_s_A[:, None] * (self.request.row_bytes * rows_AK + self._fixed_bytes(working_A) * (rows_AK > 0))

    def _fixed_bytes(self, working_A: NDArray[np.bool_]) -> float:
        """Bytes of a version to one peer that do not grow with its rows; which peers are neighbours is left open."""
        peers = max(1, int(working_A.sum()) - 1)
        return self.request.moments_bytes + self.request.rims_bytes / peers

    def handling_s_AK(
        self, rows_AK: NDArray[np.int64], strides: tuple[int, ...], working_A: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Seconds a fine step of computing that each member loses to the versions it sends and takes in.

        The rows that it does not hold count as shared out evenly among the others that work.

        Args:
            rows_AK: rows of each member, any number of choices.
            strides: fine steps a forward of each member.
            working_A: which members hold rows; the others exchange nothing.
        """
        fixed_s_A, byte_s_AA = self._handling_rates(strides, working_A)
        others_AK = (self.request.row_count - rows_AK) / max(1, int(working_A.sum()) - 1)
        return fixed_s_A[:, None] + self.request.row_bytes * byte_s_AA.sum(axis=1)[:, None] * (rows_AK + others_AK)

    def _held_handling_s_A(self, rows_A: NDArray[np.int64], strides: tuple[int, ...]) -> NDArray[np.float64]:
        """The same where everybody's rows are known."""
        fixed_s_A, byte_s_AA = self._handling_rates(strides, rows_A > 0)
        return fixed_s_A + self.request.row_bytes * (byte_s_AA.sum(axis=1) * rows_A + byte_s_AA @ rows_A)

    def _handling_rates(
        self, strides: tuple[int, ...], working_A: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Seconds a fine step that each member loses whatever its rows, and to each byte of a version with a peer."""
        strides_A = np.array(strides)
        versions_AA = np.outer(working_A, working_A) / np.maximum(strides_A[:, None], strides_A)
        byte_s_AA = versions_AA * self.links.byte_s_AA
        peers = max(1, int(working_A.sum()) - 1)
        fixed_s_A = 2 * self.request.messages(peers) * (versions_AA * self.links.message_s_AA).sum(axis=1)
        fixed_s_A += 2 * self._fixed_bytes(working_A) * byte_s_AA.sum(axis=1)
        return fixed_s_A, byte_s_AA

    def step_costs(self, strides: tuple[int, ...]) -> StepCosts:
        """Seconds a fine step of each member for 1, 2, ... rows, everybody taking part."""
        members = len(self.agents)
        rows_AR = np.tile(np.arange(1, self.request.row_count + 1), (members, 1))
        compute_s_AR = self.compute_s_AK(rows_AR, strides)
        working_A = np.ones(members, dtype=np.bool_)
        wire_s_AR = self.wire_s_AK(rows_AR, strides, working_A)
        handling_s_AR = self.handling_s_AK(rows_AR, strides, working_A)
        return StepCosts(
            alone_s_AR=np.maximum(compute_s_AR, wire_s_AR),
            displaced_s_AR=np.maximum(compute_s_AR + handling_s_AR, wire_s_AR),
            exposed_s_AR=compute_s_AR + wire_s_AR + self.request.facts.layers * self._latencies_s_A[:, None],
        )

    def step_s(self, rows: Sequence[int], strides: tuple[int, ...], exchange: Exchange) -> float:
        """Seconds a fine step when the members hold so many rows, without boundaries."""
        working = [index for index, count in enumerate(rows) if count]
        if len(working) < len(self.agents):
            part = self.restricted(tuple(self.agents[index] for index in working))
            return part.step_s([rows[i] for i in working], tuple(strides[i] for i in working), exchange)
        rows_A = np.array(rows)
        working_A = rows_A > 0
        compute_s_A = self.compute_s_AK(rows_A[:, None], strides)[:, 0]
        if len(working) == 1:
            return float(compute_s_A.max())
        wire_s_A = self.wire_s_AK(rows_A[:, None], strides, working_A)[:, 0]
        unhindered_s = max(float(compute_s_A.max()), float(wire_s_A.max()))
        match exchange:
            case Exchange.DISPLACED:
                return max(unhindered_s, float((compute_s_A + self._held_handling_s_A(rows_A, strides)).max()))
            case Exchange.SYNCHRONOUS:
                latency_s_A = self.request.facts.layers * self._latencies_s_A
                exposed_s_A = np.sort((compute_s_A + wire_s_A + latency_s_A)[working_A])
                return max(unhindered_s, float(exposed_s_A[-2:].mean())) + self.uneven_s(compute_s_A)
            case _:
                assert_never(exchange)

    def uneven_s(self, compute_s_A: NDArray[np.float64]) -> float:
        """What a synchronous step loses to unevenness: at every exchange the latest member counts.

        Args:
            compute_s_A: seconds of each member's forward.
        """
        deviations_s_A = self._jitter_A * compute_s_A / self.request.facts.layers
        if not deviations_s_A.any():
            return 0.0
        means_s_A = compute_s_A / self.request.facts.layers
        return self.request.facts.layers * later_s(means_s_A.tolist(), deviations_s_A.tolist())

    @cached_property
    def _jitter_A(self) -> NDArray[np.float64]:
        return np.array([profile.jitter for profile in self.profiles])

    def segment_s(self, segment: Segment) -> float:
        """Seconds of a segment, its boundaries included."""
        step_s = self.step_s([a.rows.count for a in segment.assignments], segment.strides, segment.exchange)
        boundaries = -(-segment.step_count // segment.beat_steps)
        return segment.step_count * step_s + boundaries * self.boundary_s(segment)

    def boundary_s(self, segment: Segment) -> float:
        """Seconds of one boundary: x and x0 of all rows to everybody, then a ring of control records."""
        if len(self.agents) == 1:
            return 0.0
        bytes_A = np.array([self._boundary_bytes(assignment.rows) for assignment in segment.assignments])
        gather_s_A = (bytes_A > 0) * self._latencies_s_A + bytes_A * self.links.wire_s_AA.sum(axis=1)
        return float(gather_s_A.max() + (len(self.agents) - 1) * self._latencies_s_A.max())

    def _boundary_bytes(self, rows: RowRange) -> int:
        """Of all rows but the last one, which may be short, each has as many."""
        if rows.end == self.request.row_count:
            return self.request.boundary_bytes(rows)
        return rows.count * self._row_boundary_bytes

    @cached_property
    def _row_boundary_bytes(self) -> int:
        return self.request.boundary_bytes(RowRange(begin=0, end=1)) if self.request.row_count > 1 else 0

    def busy_s(self, index: int, plan: Plan) -> float:
        """Seconds of computing of one member in all segments."""
        agent, profiles = self.agents[index], self.request.profile_of
        return sum(
            segment.step_count // segment.assignments[index].stride * segment_forward_s(agent, segment, profiles)
            for segment in plan.segments
        )

    def denoise_s(self, plan: Plan) -> float:
        """Wall seconds of all steps."""
        return sum(self.segment_s(segment) for segment in plan.segments)

    def encode_s(self, plan: Plan) -> float:
        """Seconds of encoding; a resumed epoch's members hold the embeddings already."""
        return self.request.profile(plan.encoder).encode_s if plan.begin_step == 0 else 0.0

    def decode_s(self, plan: Plan) -> float:
        """Seconds of decoding."""
        return self.request.profile(plan.decoder).decode_s

    def total_s(self, plan: Plan) -> float:
        """Seconds from encoding to the decoded picture."""
        return self.encode_s(plan) + self.denoise_s(plan) + self.decode_s(plan)


def predict(plan: Plan, request: PlanRequest, cost: GangCost | None = None) -> Prediction:
    """Predicts any plan for a request's picture, whoever made it.

    Args:
        plan: to predict.
        request: picture, profiles and links.
        cost: of the plan's agents, where it is known already.

    Raises:
        NotFoundError: the plan names an agent without a profile.
        InvalidArgumentError: the plan is for another picture height or number of steps.
    """
    for agent in plan.agents:
        if agent not in request.agents:
            raise NotFoundError("agent", agent, request.agents)
    for name, planned, wanted in (
        ("row units", plan.row_count, request.row_count),
        ("steps", plan.steps, request.image.steps),
    ):
        if planned != wanted:
            raise InvalidArgumentError.of("image.plan", f"is for {planned} {name}, the image has {wanted}")
    cost = cost or GangCost(request=request.among(plan.agents), agents=plan.agents)
    wall_s = cost.denoise_s(plan)
    bytes_by_agent = sent_bytes(plan, request)
    busy_s = {agent: cost.busy_s(index, plan) for index, agent in enumerate(plan.agents)}
    return Prediction(
        encode_s=cost.encode_s(plan),
        denoise_s=wall_s,
        decode_s=cost.decode_s(plan),
        agents=tuple(
            AgentPrediction(
                agent=agent,
                busy_s=busy_s[agent],
                wait_s=wall_s - busy_s[agent],
                sent_bytes=bytes_by_agent[agent],
                memory_bytes=memory_need(plan, agent, request).total_bytes,
            )
            for agent in plan.agents
        ),
    )
