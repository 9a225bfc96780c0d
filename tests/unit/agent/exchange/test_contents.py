"""What arrives is what was meant: every layer as itself, every peer's rows in their place, x and x0 both.

Every tensor holds one number that says where it comes from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.ports.layers import Geometry
from tests.tiny_models.layers import geometry, token_layers
from tests.values.plans import plan, segment
from tests.worlds.members import run_members

LAYERS = 3
TOKENS_PER_ROW = 2
WIDTH = 4


def rows_of_tokens(row_count: int) -> Geometry:
    return geometry(row_count, token_layers(LAYERS, columns=TOKENS_PER_ROW, features=WIDTH, batch=1))


class Member:
    """One member with numbers for keys and values."""

    def __init__(self, followed: Plan, network: InProcessNetwork, rank: int) -> None:
        self.beats = tuple(followed.beats())
        self.agent = followed.agents[rank]
        self.rank = rank
        self.exchange = GangExchange(
            transport=network.transport(rank),
            members=followed.agents,
            geometry=rows_of_tokens(followed.row_count),
            device=torch.device("cpu"),
            activation_dtype=torch.float32,
            state_dtype=torch.float32,
        )

    def begin(self, index: int) -> None:
        previous = self.beats[index - 1] if index else None
        following = self.beats[index + 1] if index + 1 < len(self.beats) else None
        self.exchange.begin_beat(previous, self.beats[index], following)

    def number(self, step: int, layer: int) -> float:
        return 100.0 * (self.rank + 1) + 10.0 * step + layer

    def steps(self, index: int) -> dict[tuple[int, int], list[float]]:
        """Runs the active steps of a beat; what was seen by step and layer, a number a row."""
        beat = self.beats[index]
        tokens = TOKENS_PER_ROW * beat.segment.of(self.agent).rows.count
        seen: dict[tuple[int, int], list[float]] = {}
        for step in beat.active_steps(self.agent):
            with self.exchange.step(step) as exchange:
                for layer, name in enumerate(rows_of_tokens(beat.segment.row_count).layers):
                    all_KBND = exchange.gather(name, torch.full((2, 1, tokens, WIDTH), self.number(step, layer)))
                    seen[step, layer] = all_KBND[0, 0, ::TOKENS_PER_ROW, 0].tolist()
        return seen

    def boundary(self, index: int) -> tuple[Tensor, Tensor]:
        """Gathers an x that holds the rank and an x0 that holds its negative; foreign rows hold 9 before."""
        beat = self.beats[index]
        own = rows_of_tokens(beat.segment.row_count).latent_slice(beat.segment.of(self.agent).rows)
        x_BCHW = torch.full((1, 1, 2 * beat.segment.row_count, 1), 9.0)
        x0_BCHW = x_BCHW.clone()
        x_BCHW[:, :, own], x0_BCHW[:, :, own] = self.rank, -self.rank
        self.exchange.gather_boundary((x_BCHW, x0_BCHW))
        self.exchange.agree((beat.end_step,))
        return x_BCHW.flatten(), x0_BCHW.flatten()


def follow(network: InProcessNetwork, rank: int) -> tuple[dict[tuple[int, int], list[float]], int]:
    """Follows ``ROWS_APPEAR``; what was seen, and the bytes sent."""
    member = Member(ROWS_APPEAR, network, rank)
    seen: dict[tuple[int, int], list[float]] = {}
    with member.exchange:
        for index in range(2):
            member.begin(index)
            seen |= member.steps(index)
            member.boundary(index)
        assert member.exchange.held_entries == 0
    return seen, member.exchange.sent_bytes


ROWS_APPEAR = plan(segment(0, 1, (4, 0), beat_steps=1), segment(1, 2, (2, 2), exchange=Exchange.DISPLACED))
"""The second member has no rows at first, so that it waits for nothing until it reads the first one's layers."""


def test_every_layer_of_a_version_arrives_as_itself() -> None:
    network = InProcessNetwork(2)
    (first, _), (second, _) = run_members(2, lambda rank: follow(network, rank), give_up=network.transport(0).abort)
    assert second == {(1, layer): [100.0 + layer] * 2 + [210.0 + layer] * 2 for layer in range(LAYERS)}
    assert [first[1, layer] for layer in range(LAYERS)] == [[110.0 + n] * 2 + [100.0 + n] * 2 for n in range(LAYERS)]


def test_sent_bytes_are_the_payload_in_bytes() -> None:
    network = InProcessNetwork(2)
    (_, first), (_, second) = run_members(2, lambda rank: follow(network, rank), give_up=network.transport(0).abort)
    row_bytes = 2 * TOKENS_PER_ROW * WIDTH * 4
    state_bytes = 2 * 2 * 4  # x and x0, two latent rows a unit, fp32
    assert first == LAYERS * 4 * row_bytes + (4 + 2) * state_bytes
    assert second == 2 * state_bytes


def test_a_boundary_puts_x_and_x0_of_each_peer_in_their_place() -> None:
    followed = plan(segment(0, 1, (2, 2, 2), beat_steps=1))
    network = InProcessNetwork(3)

    def body(rank: int) -> tuple[Tensor, Tensor]:
        member = Member(followed, network, rank)
        with member.exchange:
            member.begin(0)
            member.steps(0)
            return member.boundary(0)

    for x_H, x0_H in run_members(3, body, give_up=network.transport(0).abort):
        assert x_H.tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
        assert x0_H.tolist() == [0.0] * 4 + [-1.0] * 4 + [-2.0] * 4
