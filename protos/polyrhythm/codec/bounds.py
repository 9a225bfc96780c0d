"""How much of anything another process may say, and how large a figure it may be: all bounds of the wire in one place.

A figure is held against its bound where it is decoded and before anything is computed from it, so that sums, products
and logarithms further on stay numbers, and no list is gone through that is longer than it can mean anything. What is
beyond a bound is refused with the path of its field, but for texts that only people read, which are shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TypeVar

from google.protobuf.message import Message

from polyrhythm.codec.fields import FieldError
from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.process.printable import is_printable_line, printable_line

ListT = TypeVar("ListT", bound=Sequence[object])

# --- messages: what the two ends of a connection agree on ---------------------------------------------------------

REQUEST_BYTES_MAX = 512 << 10
"""One message to the coordinator. All of it is taken apart on one event loop, which is not to stand still for 20 ms:
the worst half MiB (nothing but empty parts) takes about 10 ms to be parsed. Pictures come in parts that fit it."""
REGISTER_BYTES_MAX = 4 << 10
"""Of what an agent says of itself, and ..."""
FACTS_BYTES_MAX = 6 << 10
"""... of its models, calibrations and notices left aside: everybody is told both of all agents in one answer."""
EVENTS_MAX = 512
"""Events of an agent in one message."""
ANSWER_BYTES_MAX = 8 << 20
"""One message from the coordinator; clients and agents take as much. Plans of large fleets are the largest."""

# --- figures ------------------------------------------------------------------------------------------------------

SECONDS_MIN = 1e-9
"""No clock here tells less: what is measured below is 0."""
SECONDS_MAX = 1e6
"""Eleven days, longer than any part of a picture."""
BYTES_MAX = 2**53
"""Of a memory; far more than there is, and exact as a float."""
TRAFFIC_BYTES_MAX = 2**44
"""Of what a member sends in a beat, or all layers in a step: 16 TiB. A picture has 1000 steps, so sums fit 64 bits."""
CONDITION_BYTES_MAX = 2**40
"""Of the embeddings of one text and what layers keep of them. A prompt has 1024 windows."""
LATENTS_BYTES_MAX = 2**36
"""Of the latent of the largest picture: it goes to everybody at every boundary."""
UNIT_BYTES_MAX = 2**24
"""Of one token, one pixel, one cell of a layer."""
SIDE_PX_MAX = 2**16
PIXELS_MAX = 2**30
COUNT_MAX = 2**31 - 1
ROWS_MAX = SIDE_PX_MAX
"""Row units of a picture."""
BYTES_PER_S_MIN, BYTES_PER_S_MAX = 1.0, 1e15
SECONDS_PER_BYTE_MAX = 1.0
GUIDANCE_MAX = 1e3

# --- lists --------------------------------------------------------------------------------------------------------

MEMBERS_MAX = AGENTS_MAX
"""Agents of one plan or gang."""
SEGMENTS_MAX = 128
REQUEST_ASSIGNMENTS_MAX = 2048
"""Of a plan that a client gives, over all its segments: 64 members in 32 segments, which take 10 ms to be decoded."""
MODELS_MAX = 16
LAYER_GROUPS_MAX = 512
CALIBRATIONS_MAX = 64
SAMPLERS_MAX = 64
SOFTWARE_MAX = 64
NOTICES_MAX = 64
NOTICES_CHARACTERS_MAX = 2048
"""Of all notices of a worker's models together; what is more is left out."""
LONG_PROMPTS_MAX = 16
TEXTS_MAX = 16
"""Texts of one request that are counted, and what is wrong with them."""
CORRECTIONS_MAX = 4096
HELD_BOUNDARIES_MAX = 2

# --- texts and blobs ----------------------------------------------------------------------------------------------

NAME_CHARACTERS_MAX = 256
"""Of an agent, a model, a device, a key: what other messages repeat."""
TEXT_CHARACTERS_MAX = 4096
"""Of a reason in words."""
ELLIPSIS = " ..."
LEFT_OUT_CHARACTERS = 24
"""Of the word on what is left out, at most."""
TOLD_CHARACTERS = 64
"""Of a name that is refused."""
VALUE_BYTES_MAX = 64 << 10
"""What a key of a gang's dictionary holds: addresses of all connections of a member."""
PREVIEW_BYTES_MAX = 400 << 10
"""More than 256 x 256 pixels of three bytes take in a PNG file."""


def within(value: float, path: str, least: float, most: float) -> float:
    """A figure in a closed range.

    Raises:
        FieldError: it is outside, or not a number.
    """
    if not least <= value <= most:  # neither is true of what is no number
        raise FieldError(path, f"must be {least:g}..{most:g}, got {value:g}")
    return value


def count(value: int, path: str, most: int, least: int = 0) -> int:
    """A whole number in a closed range.

    Raises:
        FieldError: it is outside.
    """
    if not least <= value <= most:
        raise FieldError(path, f"must be {least}..{most}, got {value}")
    return value


def seconds(value: float, path: str) -> float:
    """A measured duration; below what clocks tell it is 0, also where a difference of two readings came out negative.

    Raises:
        FieldError: it is negative, or longer than anything takes.
    """
    return 0.0 if abs(value) < SECONDS_MIN else within(value, path, 0.0, SECONDS_MAX)


def positive_seconds(value: float, path: str) -> float:
    """A measured duration that something is divided by.

    Raises:
        FieldError: it is too short to be one, or longer than anything takes.
    """
    return within(value, path, SECONDS_MIN, SECONDS_MAX)


def few(values: ListT, path: str, most: int) -> ListT:
    """A list that is short enough to be gone through.

    Raises:
        FieldError: it is not.
    """
    if len(values) > most:
        raise FieldError(path, f"must have at most {most} entries, got {len(values)}")
    return values


def blob(value: bytes, path: str, most: int) -> bytes:
    """Bytes that may be kept.

    Raises:
        FieldError: there are too many.
    """
    if len(value) > most:
        raise FieldError(path, f"must have at most {most} bytes, got {len(value)}")
    return value


def label(value: str, path: str) -> str:
    """A short text, such as a version; may be empty.

    Raises:
        FieldError: it is too long to be repeated.
    """
    if len(value) > NAME_CHARACTERS_MAX:
        raise FieldError(path, f"must have at most {NAME_CHARACTERS_MAX} characters, got {len(value)}")
    return value


def name(value: str, path: str) -> str:
    """A name, which must not be empty.

    Raises:
        FieldError: it is, it is too long to be repeated, or no line of text: others show it among their own words.
    """
    if not value:
        raise FieldError(path, "must not be empty")
    if not is_printable_line(value):
        raise FieldError(path, f"must be one line of printable text, got {printable_line(value[:TOLD_CHARACTERS])}")
    return label(value, path)


def told(value: str) -> str:
    """A text that only people read, shortened where it is longer than they would read."""
    if len(value) <= TEXT_CHARACTERS_MAX:
        return value
    return value[: TEXT_CHARACTERS_MAX - len(ELLIPSIS)] + ELLIPSIS


def told_all(values: Sequence[str], path: str, most: int) -> tuple[str, ...]:
    """Texts that only people read, as many of them as fit so many characters, and a word on what is left out.

    Raises:
        FieldError: there are too many to be gone through.
    """
    few(values, path, NOTICES_MAX)
    if sum(map(len, values)) <= most:
        return tuple(values)
    kept, left = list[str](), most - LEFT_OUT_CHARACTERS
    for value in values:
        if len(value) > left:
            kept += [value[: left - len(ELLIPSIS)] + ELLIPSIS] if left > len(ELLIPSIS) else []
            break
        kept.append(value)
        left -= len(value)
    rest = len(values) - len(kept)
    return (*kept, f"{rest} more are left out") if rest else tuple(kept)


def small(message: Message, path: str, most: int) -> None:
    """A message that may be kept and repeated.

    Raises:
        FieldError: it takes too much.
    """
    check_bytes(message.ByteSize(), path, most)


def check_bytes(size: int, path: str, most: int) -> None:
    """The same of what takes so many bytes.

    Raises:
        FieldError: these are too many.
    """
    if size > most:
        raise FieldError(path, f"must take at most {most} bytes, got {size}")


def finite(value: float, path: str) -> float:
    """A figure that the coordinator has computed: a number, whatever its size.

    Raises:
        FieldError: it is infinite or not a number.
    """
    if not isfinite(value):
        raise FieldError(path, f"must be finite, got {value}")
    return value
