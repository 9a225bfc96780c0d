"""Text of others on this process's terminal and in its log: what a terminal would obey is shown, not obeyed.

Escape sequences move the cursor, rename the window and hide what follows; overrides of the writing direction make a
line read as another one. Owns which characters these are.
"""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from typing import Any

_OBEYED = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for tabulator and line feed
    "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # directions and what takes no room
    "\u2028\u2029"  # line ends of their own
    "\ud800-\udfff"  # halves of surrogate pairs, which no terminal can be sent
    "\U000e0000-\U000e007f"  # tags
)
_NOT_CARRIED = re.compile("[\ud800-\udfff]")
_IN_TEXT = re.compile(f"[{_OBEYED}]")
_IN_LINE = re.compile(f"[\t\n{_OBEYED}]")


def printable(text: str) -> str:
    """A text of several lines with the four hexadecimal digits of an escape character in its place, and so on.

    These are the escapes of JSON, so that a JSON text stays one and means the same.
    """
    return _IN_TEXT.sub(_escaped, text)


def printable_line(text: str) -> str:
    """The same for one line: line ends and tabulators are shown too."""
    return _IN_LINE.sub(_escaped, text)


def is_printable_line(text: str) -> bool:
    """Whether a terminal obeys nothing in it."""
    return _IN_LINE.search(text) is None


def is_carried(text: str) -> bool:
    """Whether UTF-8 can carry a text: bytes of a terminal that were no UTF-8 come as halves of surrogate pairs."""
    return _NOT_CARRIED.search(text) is None


def printable_event(_logger: object, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What is logged, with texts that are printable: a processor of structlog, before the one that lays them out."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value)
    return event


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    if "\ud800" <= character <= "\udfff":
        return f"\\u{ord(character):04x}"
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"
