"""The session's messages as frames, as they pass between a daemon and its worker.

Pure: bytes in, bytes out. Owns the way from a torn byte stream to typed messages and back.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError

from polyrhythm.codec.framing import FrameDecoder, encode_frame
from polyrhythm.codec.mapping import OneOf
from polyrhythm.errors import WireError

V = TypeVar("V")


def encode_message(kinds: OneOf[V, Any], value: V) -> bytes:
    """The frame of a command or an event.

    Raises:
        WireError: it is too long.
    """
    return encode_frame(kinds.to_proto(value).SerializeToString())


class MessageDecoder(Generic[V]):
    """Cuts a byte stream into commands or events.

    Args:
        kinds: of which they are.
    """

    def __init__(self, kinds: OneOf[V, Any]) -> None:
        self._kinds = kinds
        self._frames = FrameDecoder()

    def feed(self, data: bytes) -> list[V]:
        """Takes bytes as they came and returns the messages that are now complete, in order.

        Raises:
            WireError: they mean nothing; the stream is lost from here on.
        """
        return [self._decoded(frame) for frame in self._frames.feed(data)]

    def _decoded(self, frame: bytes) -> V:
        try:
            proto = self._kinds.message.FromString(frame)
        except DecodeError as error:
            raise WireError(f"frame is no {self._kinds.message.DESCRIPTOR.name}: {error}") from error
        return self._kinds.from_proto(proto)
