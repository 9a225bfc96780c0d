"""Other agents' rows as one active step sees them: of the versions that the plan names, layer by layer.

Shape letters: K key and value, B batch, N tokens, D width, C channels, H W rows and columns of cells, M mean and
variance, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.exchange.schedule import Read
from polyrhythm_agent.exchange.shapes import MessageSizes, message_shape, rim_rows
from polyrhythm_agent.exchange.wires import Activation, Wires
from polyrhythm_agent.ports.layers import ExchangedLayer, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What one active step of one member sends and reads.

    Attributes:
        agent: this member.
        step: its active step, and the version that it computes.
        rows: its rows.
        reads: all rows of the image, in row order.
        destinations: members that the version goes to.
        kept: whether a later step of this member reads its own version.
        last_reads: the step after which each version that this member holds goes.
        ranks: of all members.
        rows_of: of all members.
        own_moments: by layer, those that this member published last for these rows.
    """

    agent: AgentId
    step: int
    rows: RowRange
    reads: Sequence[Read]
    destinations: Sequence[AgentId]
    kept: bool
    last_reads: Mapping[tuple[AgentId, int], int]
    ranks: Mapping[AgentId, int]
    rows_of: Mapping[AgentId, RowRange]
    own_moments: dict[LayerId, Part]


class StepExchange:
    """One active step; implements the port ``RepeatableExchange``.

    What the first forward publishes is what counts, for others and for later steps of this member; what it has read is
    held until the step ends. All methods raise ``EpochAbortedError`` or ``TransportError`` if the epoch ends, and
    ``ValueError`` if layers come out of order, by the wrong method, or with a tensor that is not of the own rows.
    """

    def __init__(self, plan: StepPlan, *, wires: Wires, sizes: MessageSizes) -> None:
        self._plan = plan
        self._wires = wires
        self._sizes = sizes
        self._geometry = sizes.geometry
        self.whole = plan.rows.count == self._geometry.row_count and not plan.destinations and not plan.kept
        self._due = tuple(
            layer
            for layer, spec in self._geometry.layers.items()
            if not (self.whole and spec.kind is LayerKind.MOMENTS)
        )
        self._layers_done = 0
        self._layers_published = 0
        self._moments_before: dict[LayerId, Part | None] = {}
        self._last_read: set[Activation] = set()

    def repeat(self) -> None:
        """Begins the step again; see the port."""
        self._layers_done = 0

    def end(self) -> None:
        """Lets go what no later step reads.

        Raises:
            ValueError: a layer was left out.
        """
        if self._layers_done != len(self._due):
            raise ValueError(f"step {self._plan.step} exchanged {self._layers_done} of {len(self._due)} layers")
        for key in self._last_read:
            self._wires.take(key)

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows of a layer and returns all rows in image order; see the port."""
        spec = self._next_layer(layer, LayerKind.TOKENS, own_KBND)
        if self._publishes():
            message_KBND = self._message(spec, own_KBND)
            for peer in self._plan.destinations:
                self._wires.send(self._plan.ranks[peer], message_KBND)
            if self._plan.kept:
                self._wires.keep(Activation(self._plan.ranks[self._plan.agent], self._plan.step, layer), message_KBND)
        pieces = [self._tokens(read, layer, own_KBND) for read in self._plan.reads]
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Publishes the rims of the own rows and returns those of the neighbours; see the port."""
        spec, plan = self._next_layer(layer, LayerKind.HALO, own_BCHW), self._plan
        if self._publishes():
            self._send_rims(spec, own_BCHW)
        above = below = None
        for read in self._others():
            if rim_rows(spec, read.held_rows, plan.rows):
                part = self._part(read, layer, own_BCHW.dtype)
                above, below = (part, below) if read.held_rows.end == plan.rows.begin else (above, part)
        return above, below

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """Publishes moments of the own rows and returns those that others have published; see the port."""
        spec, plan = self._next_layer(layer, LayerKind.MOMENTS, own_MBG), self._plan
        if self._publishes():
            message_MBG = self._message(spec, own_MBG)
            for peer in plan.destinations:
                self._wires.send(plan.ranks[peer], message_MBG)
            self._moments_before[layer] = plan.own_moments.get(layer)
            plan.own_moments[layer] = Part(rows=plan.rows, step=plan.step, tensor=own_MBG)
        parts = [self._part(read, layer, own_MBG.dtype) for read in self._others()]
        if all(part.step == plan.step for part in parts):
            return tuple(parts)
        before = self._moments_before[layer]
        assert before is not None  # the session refuses a displaced step after rows have moved
        return tuple(sorted((before, *parts), key=lambda part: part.rows))

    def _send_rims(self, spec: ExchangedLayer, own_BCHW: Tensor) -> None:
        plan = self._plan
        for peer in plan.destinations:
            rim = rim_rows(spec, plan.rows, plan.rows_of[peer])
            if rim:
                is_below = plan.rows_of[peer].begin == plan.rows.end
                rim_BCHW = own_BCHW[:, :, -rim:] if is_below else own_BCHW[:, :, :rim]
                self._wires.send(plan.ranks[peer], self._message(spec, rim_BCHW))

    def _next_layer(self, layer: LayerId, kind: LayerKind, own: Tensor) -> ExchangedLayer:
        due = self._due[self._layers_done] if self._layers_done < len(self._due) else None
        spec = None if due is None else self._geometry.layers[due]
        if layer != due or spec is None or spec.kind is not kind or own.shape != self._own_shape(spec):
            wanted = "none" if spec is None else f"{due} ({spec.kind}) of shape {self._own_shape(spec)}"
            raise ValueError(f"layer {layer} ({kind}) of shape {tuple(own.shape)} came where layer {wanted} was due")
        self._layers_done += 1
        return spec

    def _publishes(self) -> bool:
        """Whether the layer that has come is published now: once a step, however often it is run."""
        is_first = self._layers_done > self._layers_published
        self._layers_published = max(self._layers_published, self._layers_done)
        return is_first

    def _own_shape(self, spec: ExchangedLayer) -> tuple[int, ...]:
        if spec.kind is LayerKind.HALO:
            cells = self._geometry.cell_slice(spec, self._plan.rows)
            return (spec.batch, spec.features, cells.stop - cells.start, spec.columns)
        shape = message_shape(self._geometry, spec, self._plan.rows, self._plan.rows)
        assert shape is not None
        return shape

    def _message(self, spec: ExchangedLayer, own: Tensor) -> Tensor:
        return own.to(self._sizes.dtype(spec)).contiguous()

    def _others(self) -> list[Read]:
        return [read for read in self._plan.reads if read.source != self._plan.agent]

    def _part(self, read: Read, layer: LayerId, dtype: torch.dtype) -> Part:
        return Part(rows=read.held_rows, step=read.version, tensor=self._taken(read, layer).to(dtype))

    def _taken(self, read: Read, layer: LayerId) -> Tensor:
        key = Activation(self._plan.ranks[read.source], read.version, layer)
        if self._plan.last_reads[read.source, read.version] <= self._plan.step:
            self._last_read.add(key)
        return self._wires.take(key, keep=True)

    def _tokens(self, read: Read, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """The tokens of one piece of the image."""
        plan, spec = self._plan, self._geometry.layers[layer]
        if read.source == plan.agent and read.version == plan.step:
            return own_KBND
        first = self._geometry.cell_slice(spec, read.held_rows).start
        cells = self._geometry.cell_slice(spec, read.rows)
        tokens = slice((cells.start - first) * spec.columns, (cells.stop - first) * spec.columns)
        return self._taken(read, layer)[:, :, tokens].to(own_KBND.dtype)
