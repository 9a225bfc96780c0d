"""How much of anything another process may say, and how large a figure it may be: all bounds of the wire in one place.

A figure is held against its bound where it is decoded and before anything is computed from it, so that sums, products
and logarithms further on stay numbers, and no list is gone through that is longer than it can mean anything. What is
beyond a bound is refused, but for texts that only people read, which are shortened. A rule takes a value and returns
it, or raises ValueError with what is wrong; in which field that is, ``mapping`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.ids import check_agent_name
from polyrhythm.process.printable import is_printable_line, printable_line

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
SOFTWARE_MAX = 64
NOTICES_MAX = 64
NOTICES_CHARACTERS_MAX = 2048
"""Of all notices of a worker's models together; what is more is left out."""
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


def within(least: float, most: float) -> Callable[[float], float]:
    """A figure in a closed range."""

    def check(value: float) -> float:
        if not least <= value <= most:  # neither is true of what is no number
            raise ValueError(f"must be {least:g}..{most:g}, got {value:g}")
        return value

    return check


def count(most: int, *, least: int = 0) -> Callable[[int], int]:
    """A whole number in a closed range."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"must be {least}..{most}, got {value}")
        return value

    return check


def size(most: int) -> Callable[[int], int]:
    """A size or a count, which is never 0: that is how a field arrives that was not set."""
    return count(most, least=1)


def seconds(value: float) -> float:
    """A measured duration; below what clocks tell it is 0, also where a difference of two readings came out negative.

    Raises:
        ValueError: it is negative, or longer than anything takes.
    """
    if SECONDS_MIN <= value <= SECONDS_MAX:
        return value
    return 0.0 if abs(value) < SECONDS_MIN else _DURATION(value)


_DURATION = within(0.0, SECONDS_MAX)

positive_seconds = within(SECONDS_MIN, SECONDS_MAX)
"""A measured duration that something is divided by."""


def finite(value: float) -> float:
    """A figure that the coordinator has computed: a number, whatever its size.

    Raises:
        ValueError: it is infinite or not a number.
    """
    if not isfinite(value):
        raise ValueError(f"must be finite, got {value}")
    return value


def blob(most: int) -> Callable[[bytes], bytes]:
    """Bytes that may be kept."""

    def check(value: bytes) -> bytes:
        if len(value) > most:
            raise ValueError(f"must have at most {most} bytes, got {len(value)}")
        return value

    return check


def label(value: str) -> str:
    """A short text, such as a version; may be empty.

    Raises:
        ValueError: it is too long to be repeated.
    """
    if len(value) > NAME_CHARACTERS_MAX:
        raise ValueError(f"must have at most {NAME_CHARACTERS_MAX} characters, got {len(value)}")
    return value


def name(value: str) -> str:
    """A name, which must not be empty.

    Raises:
        ValueError: it is, it is too long to be repeated, or no line of text: others show it among their own words.
    """
    if not value:
        raise ValueError("must not be empty")
    if not is_printable_line(value):
        raise ValueError(f"must be one line of printable text, got {printable_line(value[:TOLD_CHARACTERS])}")
    return label(value)


def agent_name(value: str) -> str:
    """The name by which an agent introduces itself.

    Raises:
        ValueError: it does not fit file names, metrics, tables and command lines.
    """
    return check_agent_name(name(value))


def told(value: str) -> str:
    """A text that only people read, shortened where it is longer than they would read."""
    if len(value) <= TEXT_CHARACTERS_MAX:
        return value
    return value[: TEXT_CHARACTERS_MAX - len(ELLIPSIS)] + ELLIPSIS


def told_all(values: Sequence[str], most: int = NOTICES_CHARACTERS_MAX) -> tuple[str, ...]:
    """Texts that only people read, as many of them as fit so many characters, and a word on what is left out.

    Raises:
        ValueError: there are too many to be gone through.
    """
    check_length(values, NOTICES_MAX)
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


def check_length(values: Sequence[object], most: int) -> None:
    """A list that is short enough to be gone through.

    Raises:
        ValueError: it is not.
    """
    if len(values) > most:
        raise ValueError(f"must have at most {most} entries, got {len(values)}")


def check_bytes(taken: int, most: int) -> None:
    """A message that may be kept and repeated.

    Raises:
        ValueError: it takes too much.
    """
    if taken > most:
        raise ValueError(f"must take at most {most} bytes, got {taken}")
