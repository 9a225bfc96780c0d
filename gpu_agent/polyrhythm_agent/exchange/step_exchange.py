"""Keys and values of all rows as one active step sees them: own ones fresh, others of the versions in the plan.

Shape letters: K key and value, B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrhythm.ids import AgentId
from polyrhythm.rows import RowRange
from polyrhythm_agent.exchange.schedule import Read
from polyrhythm_agent.exchange.wires import Activation, Wires
from polyrhythm_agent.ports import Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What one active step of one member sends and reads.

    Attributes:
        agent: this member.
        step: its active step, and the version that it computes.
        rows: its rows.
        reads: all rows of the image, in row order.
        destinations: ranks that the version goes to.
        kept: whether a later step of this member reads its own version.
        last_reads: the step after which each version that this member holds goes.
        ranks: of all members.
    """

    agent: AgentId
    step: int
    rows: RowRange
    reads: Sequence[Read]
    destinations: Sequence[int]
    kept: bool
    last_reads: Mapping[tuple[AgentId, int], int]
    ranks: Mapping[AgentId, int]


class StepExchange:
    """One active step; implements the port ``ActivationExchange``."""

    def __init__(self, plan: StepPlan, *, wires: Wires, geometry: Geometry, dtype: torch.dtype) -> None:
        self._plan = plan
        self._wires = wires
        self._geometry = geometry
        self._dtype = dtype
        self._layers_done = 0

    @property
    def layers_done(self) -> int:
        """Layers gathered so far."""
        return self._layers_done

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows of a layer and returns all rows in image order; see the port.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
            ValueError: layers come out of order, or the tensor is not of the own rows.
        """
        expected = kv_shape(self._geometry, self._plan.rows)
        if layer != self._layers_done or own_KBND.shape != expected:
            raise ValueError(
                f"layer {layer} of shape {tuple(own_KBND.shape)} came where layer {self._layers_done} of shape "
                f"{expected} was due"
            )
        self._layers_done += 1
        self._publish(layer, own_KBND)
        held: dict[tuple[AgentId, int], Tensor] = {}
        pieces = [self._piece(read, layer, own_KBND, held) for read in self._plan.reads]
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]

    def _publish(self, layer: int, own_KBND: Tensor) -> None:
        plan = self._plan
        if not plan.destinations and not plan.kept:
            return
        message_KBND = own_KBND.to(self._dtype).contiguous()
        for peer in plan.destinations:
            self._wires.send(peer, message_KBND)
        if plan.kept:
            self._wires.keep(Activation(plan.ranks[plan.agent], plan.step, layer), message_KBND)

    def _piece(self, read: Read, layer: int, own_KBND: Tensor, held: dict[tuple[AgentId, int], Tensor]) -> Tensor:
        """The tokens of one piece of the image; ``held`` remembers versions that several pieces come from."""
        plan = self._plan
        if read.source == plan.agent and read.version == plan.step:
            return own_KBND
        version = (read.source, read.version)
        if version not in held:
            key = Activation(plan.ranks[read.source], read.version, layer)
            held[version] = self._wires.take(key, keep=plan.last_reads[version] > plan.step)
        per_row, first = self._geometry.tokens_per_row, read.held_rows.begin
        tokens = slice((read.rows.begin - first) * per_row, (read.rows.end - first) * per_row)
        return held[version][:, :, tokens].to(own_KBND.dtype)


def kv_shape(geometry: Geometry, rows: RowRange) -> tuple[int, int, int, int]:
    """Of the keys and values of some rows in one layer: ``(2, batch, tokens, width)``."""
    return (2, geometry.batch, rows.count * geometry.tokens_per_row, geometry.width)
