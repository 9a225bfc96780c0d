"""Copies between a CUDA device and pinned host memory, for a transport that can only send from the host.

Every copy is finished when its function returns, so that the host may send and any stream may read. Tensors on the host
pass through untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as the computing thread handed it over.

    Attributes:
        message: where it lies.
        ready: on a device, the point of the computing stream at which it is complete.
    """

    message: Tensor
    ready: torch.cuda.Event | None

    @classmethod
    def of(cls, message: Tensor) -> Outgoing:
        """Called on the computing thread."""
        return cls(message, _event_now(message.device) if message.is_cuda else None)

    def on_host(self) -> Tensor:
        """The message in host memory; called on the sending thread, blocks until it is there."""
        if self.ready is None:
            return self.message
        host = torch.empty(self.message.shape, dtype=self.message.dtype, pin_memory=True)
        _copy_after(self.ready, self.message, host, self.message.device)
        return host


@dataclass(frozen=True, slots=True)
class Incoming:
    """Where a message is received, and where it goes.

    Attributes:
        buffer: where the reader expects it.
        host: what the transport receives into; the buffer itself where that is on the host.
        writable: on a device, the point of the stream from which on nothing older uses the buffer's memory.
    """

    buffer: Tensor
    host: Tensor
    writable: torch.cuda.Event | None

    @classmethod
    def of(cls, buffer: Tensor) -> Incoming:
        """Called when the receive is posted."""
        if not buffer.is_cuda:
            return cls(buffer, buffer, None)
        host = torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=True)
        return cls(buffer, host, _event_now(buffer.device))

    def deliver(self) -> Tensor:
        """Brings what has arrived to the buffer; blocks until it is there."""
        if self.writable is not None:
            with torch.inference_mode():  # buffers made in inference mode may be written to in no other
                _copy_after(self.writable, self.host, self.buffer, self.buffer.device)
        return self.buffer


def _event_now(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def _copy_after(event: torch.cuda.Event, source: Tensor, target: Tensor, device: torch.device) -> None:
    """Copies on a stream of torch's pool, so that computing goes on meanwhile."""
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        stream.wait_event(event)
        target.copy_(source, non_blocking=True)
    stream.synchronize()
