"""One epoch of one member on a formed transport: sends, receives and reads what the plan names, and nothing else.

Owns the order of messages as the schedule gives it. Must not decide by arrival time, must not know the denoiser. One
thread computes and calls everything but ``abort``.

Shape letters: K x and x0, B batch, C channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.plan.plan import Beat
from polyrhythm_agent.errors import EpochAbortedError, EpochCancelledError
from polyrhythm_agent.exchange.schedule import BeatTraffic, beat_bytes, beat_traffic
from polyrhythm_agent.exchange.shapes import MessageSizes, message_shape
from polyrhythm_agent.exchange.step_exchange import StepExchange, StepPlan
from polyrhythm_agent.exchange.wires import Activation, BoundaryRows, Key, Named, Wires
from polyrhythm_agent.ports.layers import Geometry, Part
from polyrhythm_agent.ports.transport import Transport


class GangExchange:
    """The data plane of one epoch; a context manager that leaves no receive behind.

    Args:
        transport: formed among the members, with no message under way.
        members: agents in rank order.
        geometry: of the picture.
        device: where activations live.
        activation_dtype: activations are sent in it.
        state_dtype: x and x0 are sent in it, and what a layer wants precise.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        members: tuple[AgentId, ...],
        geometry: Geometry,
        device: torch.device,
        activation_dtype: torch.dtype,
        state_dtype: torch.dtype,
    ) -> None:
        if len(members) != transport.size:
            raise ValueError(f"{len(members)} members on a transport of {transport.size}")
        self._wires = Wires(transport)
        self._agent = members[transport.rank]
        self._ranks = {member: rank for rank, member in enumerate(members)}
        self._geometry = geometry
        self._device = device
        self._sizes = MessageSizes(geometry=geometry, activation_dtype=activation_dtype, state_dtype=state_dtype)
        self._beat: Beat | None = None
        self._promised: Beat | None = None
        self._traffic: BeatTraffic | None = None
        self._last_reads: dict[tuple[AgentId, int], int] = {}
        self._broadcasts = 0
        self._own_moments: dict[LayerId, Part] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes after a good end or an agreed stop, aborts after anything else."""
        if error is None or isinstance(error, EpochCancelledError):
            self.close()
        else:
            self.abort(f"{type(error).__name__}: {error}")
            self._wires.stop()

    @property
    def sent_bytes(self) -> int:
        """Payload handed to the transport so far."""
        return self._wires.sent_bytes

    @property
    def wait_s(self) -> float:
        """Seconds that the computing thread has been blocked so far."""
        return self._wires.wait_s

    @property
    def held_entries(self) -> int:
        """Tensors that wait for a planned reader now."""
        return self._wires.held_entries

    def broadcast(self, root: int, tensors: Mapping[str, Tensor]) -> None:
        """Sends the root's tensors to all members; the others receive into theirs, in place.

        Args:
            root: rank that has them.
            tensors: of the same names, shapes and dtypes everywhere.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        names = sorted(tensors)
        keys = [Named(name, self._broadcasts) for name in names]
        self._broadcasts += 1
        if root == self._wires.rank:
            # Copies, since a send may still be under way when the caller goes on and changes its tensors.
            copies = [tensors[name].clone(memory_format=torch.contiguous_format) for name in names]
            for peer in self._wires.peers:
                for copy in copies:
                    self._wires.send(peer, copy)
        else:
            buffers = [torch.empty_like(tensors[name], memory_format=torch.contiguous_format) for name in names]
            self._wires.expect(root, tuple(zip(keys, buffers, strict=True)))
            for key, name in zip(keys, names, strict=True):
                tensors[name].copy_(self._wires.take(key))

    def begin_beat(self, previous: Beat | None, current: Beat, following: Beat | None) -> None:
        """Derives from the plan what this member sends, receives and reads until the next boundary.

        Args:
            previous: the beat before in this epoch; None at its start.
            current: the beat that begins now.
            following: the beat after it; None at the end of the plan.

        Raises:
            ValueError: the beats are not those that were announced before, or read versions from before the epoch, or
                of other rows though the model exchanges more than keys and values.
        """
        if previous != self._beat or (self._beat is not None and current != self._promised):
            raise ValueError(f"the beat at step {current.begin_step} is not the one announced before")
        self._check_move(previous, current)
        kept = {version: step for version, step in self._last_reads.items() if step >= current.begin_step}
        self._traffic = beat_traffic(previous, current, following, self._agent)
        self._last_reads = kept | dict(self._traffic.last_reads)
        self._beat, self._promised = current, following

    @contextmanager
    def step(self, step: int) -> Generator[StepExchange]:
        """All rows as one active step sees them; posts the receives that belong to the step.

        Until the context ends, the step may be run again.

        Raises:
            ValueError: the step is not an active one of this beat, or a layer was left out.
        """
        beat, traffic = self._current()
        if step not in traffic.reads:
            raise ValueError(f"{step} is not an active step of {self._agent} in this beat")
        for peer, versions_at in traffic.receives.items():
            self._expect_versions(peer, versions_at[step])
        plan = StepPlan(
            agent=self._agent,
            step=step,
            rows=beat.segment.of(self._agent).rows,
            reads=traffic.reads[step],
            destinations=traffic.destinations.get(step, ()),
            kept=(self._agent, step) in traffic.last_reads,
            last_reads=self._last_reads,
            ranks=self._ranks,
            rows_of={assignment.agent: assignment.rows for assignment in beat.segment.assignments},
            own_moments=self._own_moments,
        )
        exchange = StepExchange(plan, wires=self._wires, sizes=self._sizes)
        yield exchange
        exchange.end()

    def gather_boundary(self, states_BCHW: Sequence[Tensor]) -> None:
        """Fills in the other members' rows of whole latents, in place.

        Args:
            states_BCHW: x and x0: of one shape ``(1, C, H, W)`` and dtype, own rows in place.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        beat, traffic = self._current()
        latent_rows = {a.agent: self._geometry.latent_slice(a.rows) for a in beat.segment.assignments}
        own = latent_rows[self._agent]
        if own.start < own.stop:
            own_KBCHW = torch.stack([state[:, :, own] for state in states_BCHW])
            for peer in self._wires.peers:
                self._wires.send(peer, own_KBCHW)
        for peer, versions in traffic.late_receives.items():
            self._expect_versions(peer, versions)
        keys = {peer: BoundaryRows(self._ranks[peer], beat.end_step) for peer in traffic.boundary_sources}
        for peer, key in keys.items():
            shape = (len(states_BCHW), *states_BCHW[0][:, :, latent_rows[peer]].shape)
            self._wires.expect(key.source, [(key, states_BCHW[0].new_empty(shape))])
        for peer, key in keys.items():
            for state_BCHW, part_BCHW in zip(states_BCHW, self._wires.take(key), strict=True):
                state_BCHW[:, :, latent_rows[peer]] = part_BCHW

    def agree(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        return self._wires.gather_record(record)

    def predicted_bytes(self, beat: Beat, following: Beat | None) -> int:
        """What ``sent_bytes`` grows by in a beat, its boundary of x and x0 included."""
        return beat_bytes(beat, following, self._agent, self._sizes)

    def close(self) -> None:
        """Ends the epoch at a boundary: waits until every message is delivered and the transport is free again.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        try:
            self._wires.drain()
        finally:
            self._wires.stop()

    def abort(self, reason: str) -> None:
        """Ends every wait of this member at once, from any thread; the transport is not used again."""
        self._wires.fail(EpochAbortedError(reason))

    def _current(self) -> tuple[Beat, BeatTraffic]:
        if self._beat is None or self._traffic is None:
            raise ValueError("no beat has begun")
        return self._beat, self._traffic

    def _check_move(self, previous: Beat | None, current: Beat) -> None:
        if previous is None or not current.segment.reads_stale:
            return
        moved = [a.rows for a in current.segment.assignments] != [a.rows for a in previous.segment.assignments]
        if moved and self._geometry.resync_after_move:
            raise ValueError(f"rows move at step {current.begin_step}, which must be synchronous for this model")

    def _expect_versions(self, peer: AgentId, versions: Sequence[int]) -> None:
        segment, source = self._current()[0].segment, self._ranks[peer]
        rows, reader_rows = segment.of(peer).rows, segment.of(self._agent).rows
        expected: list[tuple[Key, Tensor]] = []
        for version in versions:
            for layer, spec in self._geometry.layers.items():
                shape = message_shape(self._geometry, spec, rows, reader_rows)
                if shape is not None:
                    buffer = torch.empty(shape, dtype=self._sizes.dtype(spec), device=self._device)
                    expected.append((Activation(source, version, layer), buffer))
        if expected:
            self._wires.expect(source, expected)
