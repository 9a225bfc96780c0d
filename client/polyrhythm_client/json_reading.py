"""JSON that a user handed in, read as the dataclasses that it stands for.

Owns how the path of an offending field is spelled, and what no message can carry. Knows no document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn, TypeVar

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.printable import is_carried

T = TypeVar("T")

INT32 = range(-(2**31), 2**31)
UINT64 = range(2**64)
DIGITS_MAX = 1000
"""Of a number that is looked at: Python gives up a little further on, in words of its own."""
SHOWN_CHARACTERS = 40
"""Of a value that is refused; a longer one is not shown."""

Bounds = Mapping[str, Sequence[int]]
"""Whole numbers that are allowed, by the name of the field; others are of 32 bits."""


def parse_json(text: str, path: str) -> Any:
    """Parses a document that may be anything.

    Raises:
        InvalidArgumentError: names ``path``: it is no JSON, or has numbers that are too long, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_no_number, object_pairs_hook=_object)
    except ValueError as error:
        raise InvalidArgumentError.of(path, f"is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgumentError.of(path, "is nested too deeply") from error


def read_as(kind: type[T], value: object, path: str, bounds: Bounds | None = None) -> T:
    """Reads a value as a dataclass, or any other type with annotations; fields that the type has not are passed over.

    Args:
        kind: what it stands for.
        value: as it was parsed.
        path: where it lies, as the user would write it.
        bounds: of whole numbers that are not of 32 bits.

    Raises:
        InvalidArgumentError: names the field that is missing, of another type, or means nothing.
    """
    from pydantic import TypeAdapter, ValidationError  # slow to import, and a program that reads no file does without

    _check_carried(value, path, bounds or {})
    try:
        # As JSON once more: lists are tuples and texts are enums there, and a text is still no number.
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise InvalidArgumentError.of(_spelled(path, found["loc"]), _message(found)) from error
    except RecursionError as error:
        raise InvalidArgumentError.of(path, "is nested too deeply") from error


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:  # only one of them can be meant
            raise ValueError(f"one object has {name!a} twice")
        found[name] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _check_carried(value: object, path: str, bounds: Bounds) -> None:
    """Checks that texts and numbers can be sent on; not by recursion, which has a depth.

    Raises:
        InvalidArgumentError: names the field.
    """
    waiting: list[tuple[str, str, object]] = [(path, "", value)]
    while waiting:
        path, name, value = waiting.pop()
        match value:
            case str() if not is_carried(value):  # JSON may hold half of a surrogate pair
                raise InvalidArgumentError.of(path, "must be text that UTF-8 can carry")
            case float() if not isfinite(value):
                raise InvalidArgumentError.of(path, f"must be a finite number, got {value}")
            case int() if value not in bounds.get(name, INT32):
                raise InvalidArgumentError.of(path, _out_of_bounds(value, bounds.get(name, INT32)))
            case dict():
                waiting += [(f"{path}.{key}", key, inner) for key, inner in reversed(value.items())]
                waiting += [(f"{path}.field {key!a}", "", key) for key in value if not is_carried(key)]
            case list():
                waiting += reversed([(f"{path}[{index}]", name, inner) for index, inner in enumerate(value)])
            case _:
                pass


def _out_of_bounds(value: int, allowed: Sequence[int]) -> str:
    ends = f"{allowed[0]}..{allowed[-1]}" if isinstance(allowed, range) else f"one of {', '.join(map(str, allowed))}"
    return f"must be {ends}, got {_shown(value) or 'one of many digits'}"


def _shown(value: object) -> str:
    """A value as it was written; empty where that is long."""
    text = ascii(value) if isinstance(value, str | int | float) else ""
    return text if len(text) <= SHOWN_CHARACTERS else ""


def _spelled(path: str, location: tuple[int | str, ...]) -> str:
    return path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _message(error: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of every other refusal."""
    if error["type"] == "missing":
        return "must be given"
    if error["type"] == "value_error":
        return str(error.get("ctx", {}).get("error"))  # of the dataclass itself
    shown = _shown(error["input"])
    return error["msg"].replace("Input should be", "must be") + (f", got {shown}" if shown else "")
