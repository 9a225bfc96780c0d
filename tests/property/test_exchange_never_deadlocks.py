"""Any valid plan, run by threads with random delays: it ends, and every step sees exactly the rows that it should.

The oracle walks back in time row by row; it shares nothing with the schedule of the exchange.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Beat, Exchange, Plan
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork, Pair
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous
from polyrhythm_agent.exchange.transports.torch_distributed import form_gloo_transport
from polyrhythm_agent.ports.layers import Geometry
from polyrhythm_agent.ports.transport import Transport
from tests.tiny_models.layers import geometry, token_layers
from tests.values.strategies import plans
from tests.worlds.members import run_members

LAYERS = 3
BATCH = 2
TOKENS_PER_ROW = 2
WIDTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who computed a row, and when."""

    source: AgentId
    version: int


class Oracle:
    """What a plan means, read off step by step and row by row."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.beat_at = {step: beat for beat in plan.beats() for step in range(beat.begin_step, beat.end_step)}

    def owner(self, step: int, row: int) -> AgentId:
        """Who holds a row at a step."""
        return next(a.agent for a in self.beat_at[step].segment.assignments if a.rows.begin <= row < a.rows.end)

    def computes(self, agent: AgentId, step: int) -> bool:
        """Whether an agent runs a forward at a step."""
        beat = self.beat_at[step]
        assignment = next(a for a in beat.segment.assignments if a.agent == agent)
        return assignment.rows.end > assignment.rows.begin and (step - beat.begin_step) % assignment.stride == 0

    def origin(self, agent: AgentId, step: int, row: int) -> Origin:
        """Whose and which version of a row an active step of an agent must see."""
        owner = self.owner(step, row)
        if owner == agent or self.beat_at[step].segment.exchange is Exchange.SYNCHRONOUS:
            return Origin(source=owner, version=step)
        before = step - 1
        while not self.computes(self.owner(before, row), before):
            before -= 1
        return Origin(source=self.owner(before, row), version=before)

    def messages(self) -> set[tuple[AgentId, int, AgentId]]:
        """All versions that must travel: from whom, which, to whom."""
        return {
            (origin.source, origin.version, agent)
            for agent in self.plan.agents
            for step in self.beat_at
            if self.computes(agent, step)
            for origin in (self.origin(agent, step, row) for row in range(self.plan.row_count))
            if origin.source != agent
        }

    def sent_bytes(self, agent: AgentId, geometry: Geometry, item_bytes: int) -> int:
        """All that one agent sends: keys and values, and x and x0 at every boundary."""
        row_bytes = 2 * LAYERS * BATCH * TOKENS_PER_ROW * WIDTH * item_bytes
        versions = sum(
            row_bytes * sum(self.owner(version, row) == agent for row in range(self.plan.row_count))
            for source, version, _ in self.messages()
            if source == agent
        )
        latent_row_bytes = 2 * geometry.latent_channels * geometry.latent_width * item_bytes
        boundaries = sum(
            sum(
                self.owner(beat.begin_step, latent_row // geometry.latent_rows_per_unit) == agent
                for latent_row in range(geometry.latent_height)
            )
            for beat in self.plan.beats()
        )
        return versions + latent_row_bytes * boundaries * (len(self.plan.agents) - 1)


def geometry_of(plan: Plan, *, short_last_unit: bool) -> Geometry:
    """Two latent rows a unit; the last unit may have one."""
    layers = token_layers(LAYERS, columns=TOKENS_PER_ROW, features=WIDTH, batch=BATCH)
    return geometry(plan.row_count, layers, height=2 * plan.row_count - short_last_unit, width=3, batch=BATCH)


def content(rank: int, version: int, layer: int, row: int) -> Tensor:
    """Keys and values of one row, ``(2, batch, tokens, width)``: no two of them share a number."""
    numbers = torch.arange(2 * BATCH * TOKENS_PER_ROW * WIDTH, dtype=torch.float64)
    key = ((rank * 64 + version) * LAYERS + layer) * 16 + row
    return (key * len(numbers) + numbers).reshape(2, BATCH, TOKENS_PER_ROW, WIDTH)


class Member:
    """One agent with a denoiser whose keys and values say where they come from."""

    def __init__(self, oracle: Oracle, geometry: Geometry, transport: Transport) -> None:
        self.oracle = oracle
        self.geometry = geometry
        self.rank = transport.rank
        self.agents = oracle.plan.agents
        self.agent = self.agents[self.rank]
        self.exchange = GangExchange(
            transport=transport,
            members=self.agents,
            geometry=geometry,
            device=torch.device("cpu"),
            activation_dtype=torch.float64,
            state_dtype=torch.float64,
        )

    def run(self) -> int:
        """Follows the plan to its end; returns the bytes sent."""
        with self.exchange:
            previous: Beat | None = None
            beats = list(self.oracle.plan.beats())
            for beat, following in zip(beats, [*beats[1:], None], strict=True):
                sent_bytes = self.exchange.sent_bytes
                self.exchange.begin_beat(previous, beat, following)
                for step in beat.active_steps(self.agent):
                    self.check_step(step)
                self.check_boundary(beat)
                predicted_bytes = self.exchange.predicted_bytes(beat, following)
                assert self.exchange.sent_bytes - sent_bytes == predicted_bytes
                previous = beat
        return self.exchange.sent_bytes

    def check_step(self, step: int) -> None:
        """Publishes own rows layer by layer and compares all rows with the oracle."""
        own_rows = [row for row in range(self.geometry.row_count) if self.oracle.owner(step, row) == self.agent]
        origins = [self.oracle.origin(self.agent, step, row) for row in range(self.geometry.row_count)]
        with self.exchange.step(step) as exchange:
            for layer, name in enumerate(self.geometry.layers):
                own_KBND = torch.cat([content(self.rank, step, layer, row) for row in own_rows], dim=2)
                expected_KBND = torch.cat(
                    [
                        content(self.agents.index(origin.source), origin.version, layer, row)
                        for row, origin in enumerate(origins)
                    ],
                    dim=2,
                )
                assert torch.equal(exchange.gather(name, own_KBND), expected_KBND), f"step {step} layer {layer}"

    def check_boundary(self, beat: Beat) -> None:
        """Gathers x and x0, which name their owner, and agrees."""
        geometry = self.geometry
        owners = torch.tensor(
            [
                self.agents.index(self.oracle.owner(beat.begin_step, row // geometry.latent_rows_per_unit))
                for row in range(geometry.latent_height)
            ]
        )
        expected_BCHW = (owners * 64.0 + beat.end_step).double().reshape(1, 1, -1, 1).expand(1, 1, -1, 3)
        x_BCHW = torch.where((owners == self.rank).reshape(1, 1, -1, 1), expected_BCHW, -1.0)
        x0_BCHW = x_BCHW / 2
        self.exchange.gather_boundary((x_BCHW, x0_BCHW))
        assert torch.equal(x_BCHW, expected_BCHW)
        assert torch.equal(x0_BCHW, expected_BCHW / 2)
        records = self.exchange.agree((beat.end_step, self.rank, 0))
        assert records == tuple((beat.end_step, rank, 0) for rank in range(len(self.agents)))


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(), seed=st.integers(0, 1 << 16), slow_share=st.sampled_from([0.0, 0.1]), short=st.booleans())
def test_any_plan_ends_with_the_rows_that_the_oracle_names(
    plan: Plan, seed: int, slow_share: float, short: bool
) -> None:
    def delay_s(pair: Pair, index: int) -> float:
        source = random.Random(f"{seed} {pair} {index}")
        return source.uniform(0.0, 0.003) if source.random() < slow_share else 0.0

    network = InProcessNetwork(len(plan.agents), delay_s=delay_s)
    follow(plan, [network.transport(rank) for rank in range(network.size)], short_last_unit=short)
    assert network.pending() == {}


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(agents_min=2))
def test_any_plan_ends_over_gloo_too(plan: Plan) -> None:
    rendezvous = InProcessRendezvous()
    size = len(plan.agents)
    transports = run_members(
        size,
        lambda rank: form_gloo_transport(rank=rank, size=size, rendezvous=rendezvous, bind_address="127.0.0.1"),
        give_up=lambda: rendezvous.abort("another member failed"),
    )
    follow(plan, transports, short_last_unit=True)
    for transport in transports:
        transport.abort()


def follow(plan: Plan, transports: Sequence[Transport], *, short_last_unit: bool) -> None:
    """Runs a plan to its end and compares what was sent with the oracle."""
    oracle = Oracle(plan)
    size = geometry_of(plan, short_last_unit=short_last_unit)
    members = [Member(oracle, size, transport) for transport in transports]

    def give_up() -> None:
        for transport in transports:
            transport.abort()

    sent_bytes = run_members(len(members), lambda rank: members[rank].run(), give_up=give_up)

    item_bytes = torch.float64.itemsize
    assert sent_bytes == [oracle.sent_bytes(agent, size, item_bytes) for agent in plan.agents]
    assert [member.exchange.held_entries for member in members] == [0] * len(members)
