"""Errors inside an agent: of an epoch, a measurement, a model that is loaded, and of its processes' start and end."""

from __future__ import annotations

from polyrhythm.errors import InternalError, PolyrhythmError


def forget_frames(error: BaseException) -> None:
    """Makes an error forget where it and its causes were raised, so that it can be kept.

    A traceback holds the frames that it went through, and they hold transports and tensors: an error that one of these
    keeps would keep them all alive, sockets, threads and device memory included, until a full garbage collection.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]


class TransportError(PolyrhythmError):
    """A peer vanished, refused, or the transport was aborted."""


class EpochAbortedError(PolyrhythmError):
    """The coordinator ended the epoch at once."""


class EpochCancelledError(PolyrhythmError):
    """All members agreed to stop at a boundary."""


class MeasuringStoppedError(PolyrhythmError):
    """Nobody waits for a measurement any more."""


class ModelFolderError(PolyrhythmError, ValueError):
    """A model folder cannot be loaded: missing, no safetensors, or an unknown pipeline."""


class ModelCodeError(InternalError):
    """A model's code failed at what it was asked for; it says how."""


class ModelUnavailableError(PolyrhythmError):
    """A model of the hub cannot be had: unknown, not for this user, or neither network nor copy."""


class ChannelClosedError(PolyrhythmError):
    """The daemon is gone; the worker is about to end."""


class WorkerStartError(PolyrhythmError):
    """The worker process could not be started at all, or ended before it was ready every time."""


class NoCurrentFolderError(PolyrhythmError):
    """The folder that a process stands in is gone."""


class DeviceError(PolyrhythmError):
    """A device cannot be used or asked: the driver is missing, the device is gone, the call failed."""


class OutOfMemoryError(PolyrhythmError):
    """The device's memory does not suffice, or the part of it that this worker may use."""


class RegistrationRefusedError(PolyrhythmError):
    """The coordinator does not take this agent: its name is in use, or it speaks another protocol."""


class NoPictureError(InternalError):
    """What was decoded is no picture; another try makes the same."""


class PictureNotFiniteError(NoPictureError):
    """The decoded picture holds NaN or infinite values; there is nothing to show."""


class PictureBlackError(NoPictureError):
    """Every pixel of the decoded picture is black: what is left where values were lost on the way, as in fp16."""
