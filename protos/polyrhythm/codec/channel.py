"""The session's messages as frames, as they pass between a daemon and its worker.

Pure: bytes in, bytes out. Owns the way from a torn byte stream to typed messages and back.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.framing import FrameDecoder, encode_frame
from polyrhythm.codec.messages import command_from_proto, command_to_proto, event_from_proto, event_to_proto
from polyrhythm.errors import WireError
from polyrhythm.session.messages import AgentCommand, AgentEvent


def encode_command(command: AgentCommand) -> bytes:
    """The frame of a command.

    Raises:
        WireError: it is too long.
    """
    return encode_frame(command_to_proto(command).SerializeToString())


def encode_event(event: AgentEvent) -> bytes:
    """The frame of an event.

    Raises:
        WireError: it is too long.
    """
    return encode_frame(event_to_proto(event).SerializeToString())


class CommandDecoder:
    """Cuts a byte stream into commands."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    def feed(self, data: bytes) -> list[AgentCommand]:
        """Takes bytes as they came and returns the commands that are now complete, in order.

        Raises:
            WireError: they mean nothing; the stream is lost from here on.
        """
        commands: list[AgentCommand] = []
        for message in self._frames.feed(data):
            proto = session_pb2.SessionResponse()
            _parse(proto, message)
            commands.append(command_from_proto(proto))
        return commands


class EventDecoder:
    """Cuts a byte stream into events."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    def feed(self, data: bytes) -> list[AgentEvent]:
        """Takes bytes as they came and returns the events that are now complete, in order.

        Raises:
            WireError: they mean nothing; the stream is lost from here on.
        """
        events: list[AgentEvent] = []
        for message in self._frames.feed(data):
            proto = session_pb2.AgentEvent()
            _parse(proto, message)
            events.append(event_from_proto(proto))
        return events


def _parse(proto: session_pb2.AgentEvent | session_pb2.SessionResponse, message: bytes) -> None:
    try:
        proto.ParseFromString(message)
    except DecodeError as error:
        raise WireError(f"frame is no {type(proto).__name__}: {error}") from error
