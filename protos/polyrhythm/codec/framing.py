"""Frames on a byte stream between a daemon and its child: four bytes of big-endian length, then the message.

Pure: bytes in, bytes out. Who reads and writes the socket is the caller's business.
"""

from __future__ import annotations

import struct

from polyrhythm.errors import WireError

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Far above any message that is sent (pictures go in parts), far below what a garbled length would ask for."""

_LENGTH = struct.Struct(">I")


def encode_frame(message: bytes) -> bytes:
    """Puts the length before a message.

    Raises:
        WireError: the message is longer than FRAME_BYTES_MAX.
    """
    _check_length(len(message))
    return _LENGTH.pack(len(message)) + message


class FrameDecoder:
    """Cuts a byte stream into messages, however it was torn on the way."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes as they came and returns the messages that are now complete, in order.

        Raises:
            WireError: a length is beyond FRAME_BYTES_MAX; the stream is lost from here on.
        """
        self._pending += data
        messages: list[bytes] = []
        position = 0
        while len(self._pending) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending, position)
            _check_length(length)
            begin = position + _LENGTH.size
            if len(self._pending) - begin < length:
                break
            messages.append(bytes(self._pending[begin : begin + length]))
            position = begin + length
        del self._pending[:position]
        return messages

    def finish(self) -> None:
        """Says that the stream has ended.

        Raises:
            WireError: it ended inside a frame.
        """
        if self._pending:
            raise WireError(f"stream ended inside a frame: {len(self._pending)} bytes are left over")


def _check_length(length: int) -> None:
    if length > FRAME_BYTES_MAX:
        raise WireError(f"frame of {length} bytes is beyond the limit of {FRAME_BYTES_MAX}")
