"""One epoch of one member on a formed transport: sends, receives and reads what the plan names, and nothing else.

Owns the order of messages as the schedule gives it, the mailbox and the receiving threads. Must not decide by arrival
time, must not know the denoiser. One thread computes and calls everything but ``abort``.

Shape letters: K key and value, B batch, N tokens, D width, C channels, H W latent rows and columns.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import torch
from torch import Tensor

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.plan import Beat
from polyrhythm.rows import RowRange
from polyrhythm_agent.errors import EpochAbortedError, EpochCancelledError, TransportError
from polyrhythm_agent.exchange.mailbox import Mailbox
from polyrhythm_agent.exchange.receiver import PeerReceiver
from polyrhythm_agent.exchange.schedule import BeatTraffic, MessageSizes, Read, beat_bytes, beat_traffic
from polyrhythm_agent.ports import Geometry, Transport


@dataclass(frozen=True, slots=True)
class _Activation:
    source: int
    version: int
    layer: int


@dataclass(frozen=True, slots=True)
class _Boundary:
    source: int
    step: int


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    broadcast: int


_Key: TypeAlias = _Activation | _Boundary | _Named


class GangExchange:
    """The data plane of one epoch.

    Args:
        transport: formed among the members, with no message under way.
        members: agents in rank order.
        geometry: of the picture.
        device: where keys, values and latents live.
        activation_dtype: keys and values are sent in it.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        members: tuple[AgentId, ...],
        geometry: Geometry,
        device: torch.device,
        activation_dtype: torch.dtype,
    ) -> None:
        if len(members) != transport.size:
            raise ValueError(f"{len(members)} members on a transport of {transport.size}")
        self._transport = transport
        self._members = members
        self._ranks = {member: rank for rank, member in enumerate(members)}
        self._agent = members[transport.rank]
        self._geometry = geometry
        self._device = device
        self._activation_dtype = activation_dtype
        self._mailbox: Mailbox[_Key] = Mailbox()
        self._receivers = {
            rank: PeerReceiver(source=rank, transport=transport, mailbox=self._mailbox, fail=self._fail)
            for rank in range(transport.size)
            if rank != transport.rank
        }
        self._beat: Beat | None = None
        self._promised: Beat | None = None
        self._traffic: BeatTraffic | None = None
        self._last_reads: dict[tuple[AgentId, int], int] = {}
        self._broadcasts = 0
        self._sent_bytes = 0
        self._agree_wait_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes after a good end or an agreed stop; ends the transport after anything else. No receive survives."""
        if error is None or isinstance(error, EpochCancelledError):
            self.close()
        else:
            self.abort(f"{type(error).__name__}: {error}")
            self._stop()

    @property
    def sent_bytes(self) -> int:
        """Payload handed to the transport so far."""
        return self._sent_bytes

    @property
    def wait_s(self) -> float:
        """Seconds that the computing thread has been blocked so far."""
        return self._mailbox.waited_s + self._agree_wait_s

    def broadcast(self, root: int, tensors: Mapping[str, Tensor]) -> None:
        """Sends the root's tensors to all members; the others receive into theirs, in place.

        Args:
            root: rank that has them.
            tensors: contiguous, of the same names, shapes and dtypes everywhere.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
            TransportError: a peer is gone or the transport was aborted.
        """
        names = sorted(tensors)
        keys = [_Named(name, self._broadcasts) for name in names]
        self._broadcasts += 1
        if root == self._transport.rank:
            copies = [tensors[name].clone(memory_format=torch.contiguous_format) for name in names]
            for peer in self._receivers:
                for copy in copies:
                    self._send(peer, copy)
        else:
            buffers = [torch.empty_like(tensors[name], memory_format=torch.contiguous_format) for name in names]
            self._receivers[root].expect(tuple(zip(keys, buffers, strict=True)))
            for key, name in zip(keys, names, strict=True):
                tensors[name].copy_(self._mailbox.take(key))

    def begin_beat(self, previous: Beat | None, current: Beat, following: Beat | None) -> None:
        """Derives from the plan what this member sends, receives and reads until the next boundary.

        Args:
            previous: the beat before in this epoch; None at its start.
            current: the beat that begins now.
            following: the beat after it; None at the end of the plan.

        Raises:
            ValueError: the beats are not those that were announced before, or read versions from before the epoch.
        """
        if previous != self._beat or (self._beat is not None and current != self._promised):
            raise ValueError(f"beat at step {current.begin_step} is not the one announced before")
        kept = {key: step for key, step in self._last_reads.items() if step >= current.begin_step}
        self._traffic = beat_traffic(previous, current, following, self._agent)
        self._last_reads = kept | dict(self._traffic.last_reads)
        self._beat, self._promised = current, following

    @contextmanager
    def step(self, step: int) -> Generator[StepExchange]:
        """Other agents' rows as one active step sees them; posts the receives that belong to the step.

        Raises:
            ValueError: the step is not one of this beat's active steps, or a layer was left out.
        """
        traffic = self._current()[1]
        if step not in traffic.reads:
            raise ValueError(f"{step} is not an active step of {self._agent} in this beat")
        for peer, versions_at in traffic.receives.items():
            self._expect_versions(peer, versions_at[step])
        exchange = StepExchange(self, step=step, reads=traffic.reads[step])
        yield exchange
        if exchange.layers_done != self._geometry.layers:
            raise ValueError(f"step {step} exchanged {exchange.layers_done} of {self._geometry.layers} layers")

    def gather_boundary(self, states_BCHW: Sequence[Tensor]) -> None:
        """Fills in the other members' rows of whole latents, in place.

        Args:
            states_BCHW: tensors of one shape ``(1, C, H, W)`` and dtype, own rows in place: x and x0.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
            TransportError: a peer is gone or the transport was aborted.
        """
        beat, traffic = self._current()
        own = self._geometry.latent_slice(beat.segment.of(self._agent).rows)
        if own.start < own.stop:
            own_KBCHW = torch.stack([state[:, :, own] for state in states_BCHW])
            for peer in self._receivers:
                self._send(peer, own_KBCHW)
        for peer, versions in traffic.late_receives.items():
            self._expect_versions(peer, versions)
        for peer in traffic.boundary_sources:
            rows = self._geometry.latent_slice(beat.segment.of(peer).rows)
            shape = (len(states_BCHW), *states_BCHW[0][:, :, rows].shape)
            key = _Boundary(self._ranks[peer], beat.end_step)
            self._receivers[key.source].expect(((key, states_BCHW[0].new_empty(shape)),))
        for peer in traffic.boundary_sources:
            rows = self._geometry.latent_slice(beat.segment.of(peer).rows)
            gathered_KBCHW = self._mailbox.take(_Boundary(self._ranks[peer], beat.end_step))
            for state, part in zip(states_BCHW, gathered_KBCHW, strict=True):
                state[:, :, rows] = part

    def agree(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
            TransportError: a peer is gone or the transport was aborted.
        """
        begin_s = time.perf_counter()
        try:
            return self._transport.all_gather_record(record)
        except TransportError as error:
            raise self._fail(error) from error
        finally:
            self._agree_wait_s += time.perf_counter() - begin_s

    def predicted_bytes(self, beat: Beat, following: Beat | None, state_dtype: torch.dtype) -> int:
        """What ``sent_bytes`` grows by in a beat, its boundary of x and x0 included."""
        geometry = self._geometry
        sizes = MessageSizes(
            layers=geometry.layers,
            row_bytes=2 * geometry.batch * geometry.tokens_per_row * geometry.width * self._activation_dtype.itemsize,
            latent_row_bytes=2 * geometry.latent_channels * geometry.latent_width * state_dtype.itemsize,
            latent_rows_per_unit=geometry.latent_rows_per_unit,
            latent_height=geometry.latent_height,
        )
        return beat_bytes(beat, following, self._agent, sizes)

    def close(self) -> None:
        """Ends the epoch at a boundary: waits until every message is delivered and the transport is free again.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
            TransportError: a peer is gone or the transport was aborted.
        """
        try:
            self._transport.drain()
        except TransportError as error:
            raise self._fail(error) from error
        finally:
            self._stop()

    def abort(self, reason: str) -> None:
        """Ends every wait of this member at once, from any thread; the transport is not used again."""
        self._fail(EpochAbortedError(reason))

    def _current(self) -> tuple[Beat, BeatTraffic]:
        if self._beat is None or self._traffic is None:
            raise ValueError("no beat has begun")
        return self._beat, self._traffic

    def _stop(self) -> None:
        for receiver in self._receivers.values():
            receiver.stop()

    def _fail(self, error: PolyrhythmError) -> PolyrhythmError:
        """Ends the epoch for all threads of this member; returns the first error, which is the one to raise."""
        self._mailbox.abort(error)
        self._transport.abort()
        return self._mailbox.error or error

    def _send(self, rank: int, message: Tensor) -> None:
        try:
            self._transport.send(rank, message)
        except TransportError as error:
            raise self._fail(error) from error
        self._sent_bytes += message.numel() * message.element_size()

    def _expect_versions(self, peer: AgentId, versions: Sequence[int]) -> None:
        if not versions:
            return
        source = self._ranks[peer]
        shape = self._shape(self._current()[0].segment.of(peer).rows)
        self._receivers[source].expect(
            tuple(
                (
                    _Activation(source, version, layer),
                    torch.empty(shape, dtype=self._activation_dtype, device=self._device),
                )
                for version in versions
                for layer in range(self._geometry.layers)
            )
        )

    def _shape(self, rows: RowRange) -> tuple[int, int, int, int]:
        geometry = self._geometry
        return (2, geometry.batch, rows.count * geometry.tokens_per_row, geometry.width)

    def publish(self, version: int, layer: int, own_KBND: Tensor) -> None:
        """Sends one layer of an own version to all members that the plan names, and keeps it if it is read again."""
        beat, traffic = self._current()
        expected = self._shape(beat.segment.of(self._agent).rows)
        if own_KBND.shape != expected:
            raise ValueError(f"layer {layer} gave {tuple(own_KBND.shape)}, expected {expected}")
        message_KBND = own_KBND.to(self._activation_dtype).contiguous()
        for peer in traffic.destinations.get(version, ()):
            self._send(self._ranks[peer], message_KBND)
        if (self._agent, version) in traffic.last_reads:
            self._mailbox.put(_Activation(self._transport.rank, version, layer), message_KBND)

    def is_fresh(self, read: Read, step: int) -> bool:
        """Whether a piece is what this member computes at this very step."""
        return read.source == self._agent and read.version == step

    def take(self, read: Read, step: int, layer: int) -> Tensor:
        """One layer of a version that a step reads: ``(2, batch, tokens of all its rows, width)``."""
        keep = self._last_reads[read.source, read.version] > step
        return self._mailbox.take(_Activation(self._ranks[read.source], read.version, layer), keep=keep)

    def token_slice(self, read: Read) -> slice:
        """Where the tokens of a piece lie in the version that holds it."""
        per_row = self._geometry.tokens_per_row
        offset = read.held_rows.begin
        return slice((read.rows.begin - offset) * per_row, (read.rows.end - offset) * per_row)


class StepExchange:
    """One active step's view of all rows; implements the port ``ActivationExchange``."""

    def __init__(self, exchange: GangExchange, *, step: int, reads: Sequence[Read]) -> None:
        self._exchange = exchange
        self._step = step
        self._reads = reads
        self.layers_done = 0

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows of a layer and returns all rows in image order; see the port.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
            TransportError: a peer is gone or the transport was aborted.
            ValueError: layers come out of order, or the tensor is not of the own rows.
        """
        if layer != self.layers_done:
            raise ValueError(f"layer {layer} came where {self.layers_done} was due")
        self.layers_done += 1
        self._exchange.publish(self._step, layer, own_KBND)
        versions: dict[tuple[AgentId, int], Tensor] = {}
        pieces: list[Tensor] = []
        for read in self._reads:
            if self._exchange.is_fresh(read, self._step):
                pieces.append(own_KBND)
                continue
            key = (read.source, read.version)
            if key not in versions:
                versions[key] = self._exchange.take(read, self._step, layer)
            pieces.append(versions[key][:, :, self._exchange.token_slice(read)].to(own_KBND.dtype))
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]
