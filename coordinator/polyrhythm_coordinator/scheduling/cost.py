"""Cost model: predicted seconds of a plan on measured devices and links (STADI's cost, made a closed form here).

Owns every formula of time. Chooses nothing. The predictions:

* A forward takes ``t_i(rows) = fixed + per_row * rows``, as the agent measured it.
* A **synchronous** step takes ``max_i (t_i + x_i)``: each layer waits for everybody's keys and values, so nothing of
  the exchange ``x_i = layers * latency + bytes_i / rate`` is hidden. Layers are alike, hence the maximum of the sums.
* A **displaced** step takes ``max_i max(t_i / s_i, e_i / s)``: compute, or the wire if that is slower. Nobody waits
  for a version as long as a layer's transfer takes no longer than a layer's compute. For strides 1 and 2: let all
  agents proceed at the pace of the slowest; layer l of step k of agent i then runs at fine time k + s_i l / layers, and
  a reader at step k' > k, k' - k >= s_i - s_j + 1 or l = 0, finds it computed at least one of its own layers ago.
  (With stride 4 beside stride 1 this is false, and the model too low.)
* A **boundary** costs the transfer of x and x0 and one all-gather of the control record.

Not modelled: a device's speed varying in time, receivers sharing one wire, memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from polyrhythm.errors import InvalidArgumentError, NotFoundError
from polyrhythm.explanation import AgentPrediction, Prediction
from polyrhythm.ids import AgentId
from polyrhythm.plan import Exchange, Plan, Segment
from polyrhythm.profile import Profile
from polyrhythm.rows import RowRange
from polyrhythm_coordinator.scheduling.request import PlanRequest
from polyrhythm_coordinator.scheduling.traffic import sent_bytes


@dataclass(frozen=True, kw_only=True)  # without slots: the arrays below are computed once and kept
class GangCost:
    """Seconds of the steps of one gang. Shape letters: A agents in rank order, R rows, K any number of row counts.

    Attributes:
        request: picture, profiles and links.
        agents: the gang in rank order.
    """

    request: PlanRequest
    agents: tuple[AgentId, ...]

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """Profiles in rank order."""
        return tuple(self.request.profile(agent) for agent in self.agents)

    @cached_property
    def _affine_s_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``fixed_s`` and ``per_row_s`` of the members."""
        profiles = self.profiles
        return np.array([p.fixed_s for p in profiles]), np.array([p.per_row_s for p in profiles])

    @cached_property
    def seconds_per_byte_AA(self) -> NDArray[np.float64]:
        """From each member (row) to each member (column); 0 on the diagonal."""
        return np.array(
            [[0.0 if i == j else 1.0 / self.request.link(i, j).bytes_per_s for j in self.agents] for i in self.agents]
        )

    @cached_property
    def latencies_s_A(self) -> NDArray[np.float64]:
        """Longest latency from each member to any other; 0 for one alone."""
        return np.array(
            [max((self.request.link(i, j).latency_s for j in self.agents if j != i), default=0.0) for i in self.agents]
        )

    def agent_steps_s_AK(
        self, rows_AK: NDArray[np.int64], strides: tuple[int, ...], exchange: Exchange
    ) -> NDArray[np.float64]:
        """Seconds a fine step that each member needs for some rows; a member without rows reads and sends nothing.

        Of strides that divide each other, peer ``j`` reads one version of ``i`` every ``max(s_i, s_j)`` fine steps.

        Args:
            rows_AK: row counts to cost; a member takes part if it has rows in any column.
            strides: of the members.
            exchange: of the segment.
        """
        strides_A = np.array(strides)
        fixed_s_A, per_row_s_A = self._affine_s_A
        compute_s_AK = fixed_s_A[:, None] * (rows_AK > 0) + per_row_s_A[:, None] * rows_AK
        compute_s_AK /= strides_A[:, None]
        working_A = rows_AK.any(axis=1)
        if np.count_nonzero(working_A) == 1:
            return compute_s_AK
        versions_a_step_AA = working_A / np.maximum(strides_A[:, None], strides_A)
        row_bytes = self.request.version_bytes(RowRange(begin=0, end=1))
        wire_s_A = row_bytes * (self.seconds_per_byte_AA * versions_a_step_AA).sum(axis=1)
        wire_s_AK = wire_s_A[:, None] * rows_AK
        match exchange:
            case Exchange.DISPLACED:
                return np.maximum(compute_s_AK, wire_s_AK)
            case Exchange.SYNCHRONOUS:
                latency_s_A = self.request.facts.layers * self.latencies_s_A
                return compute_s_AK + wire_s_AK + latency_s_A[:, None] * (rows_AK > 0)
            case _:
                assert_never(exchange)

    def step_costs_AR(self, strides: tuple[int, ...], exchange: Exchange) -> NDArray[np.float64]:
        """Seconds a fine step of each member for 1, 2, ... rows, everybody taking part."""
        rows_R = np.arange(1, self.request.row_count + 1)
        return self.agent_steps_s_AK(np.tile(rows_R, (len(self.agents), 1)), strides, exchange)

    def segment_s(self, segment: Segment) -> float:
        """Seconds of a segment, its boundaries included."""
        rows_AK = np.array([[assignment.rows.count] for assignment in segment.assignments])
        step_s = float(self.agent_steps_s_AK(rows_AK, segment.strides, segment.exchange).max())
        boundaries = -(-segment.step_count // segment.beat_steps)
        return segment.step_count * step_s + boundaries * self.boundary_s(segment)

    def boundary_s(self, segment: Segment) -> float:
        """Seconds of one boundary: x and x0 of all rows to everybody, then a ring of control records."""
        if len(self.agents) == 1:
            return 0.0
        bytes_A = np.array([self.request.boundary_bytes(assignment.rows) for assignment in segment.assignments])
        gather_s_A = (bytes_A > 0) * self.latencies_s_A + bytes_A * self.seconds_per_byte_AA.sum(axis=1)
        return float(gather_s_A.max() + (len(self.agents) - 1) * self.latencies_s_A.max())

    def busy_s(self, index: int, plan: Plan) -> float:
        """Seconds of computing of one member in all segments."""
        assigned = ((segment.step_count, segment.assignments[index]) for segment in plan.segments)
        return sum(steps // a.stride * self.profiles[index].forward_s(a.rows.count) for steps, a in assigned)


def denoise_s(plan: Plan, request: PlanRequest) -> float:
    """Predicted wall seconds of all steps of a plan."""
    gang = GangCost(request=request, agents=plan.agents)
    return sum(gang.segment_s(segment) for segment in plan.segments)


def encode_s(plan: Plan, request: PlanRequest) -> float:
    """Predicted seconds of encoding; a resumed epoch's members hold the embeddings already."""
    return request.profile(plan.encoder).encode_s if plan.begin_step == 0 else 0.0


def total_s(plan: Plan, request: PlanRequest) -> float:
    """Predicted seconds of a plan from encoding to the decoded picture."""
    return encode_s(plan, request) + denoise_s(plan, request) + request.profile(plan.decoder).decode_s


def predict(plan: Plan, request: PlanRequest) -> Prediction:
    """Predicts any plan for a request's picture, whoever made it.

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
            raise InvalidArgumentError.of("plan", f"is for {planned} {name}, the image has {wanted}")
    gang = GangCost(request=request, agents=plan.agents)
    wall_s = denoise_s(plan, request)
    bytes_by_agent = sent_bytes(plan, request)
    agents = tuple(
        AgentPrediction(
            agent=agent,
            busy_s=(busy_s := gang.busy_s(index, plan)),
            wait_s=wall_s - busy_s,
            sent_bytes=bytes_by_agent[agent],
        )
        for index, agent in enumerate(plan.agents)
    )
    return Prediction(
        encode_s=encode_s(plan, request),
        denoise_s=wall_s,
        decode_s=request.profile(plan.decoder).decode_s,
        agents=agents,
    )
