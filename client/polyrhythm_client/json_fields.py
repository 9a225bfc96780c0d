"""Fields of a JSON document that a user handed in, each checked for its type and for what can be sent on.

Owns how the path of an offending field is spelled. Knows no document.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any, NoReturn, TypeVar

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.printable import is_carried

T = TypeVar("T")

INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63), 2**63)
UINT64 = range(2**64)
DIGITS_MAX = 1000
"""Of a number that is looked at: Python gives up a little further on, in words of its own."""
SHOWN_DIGITS = 20
"""Of a number that is refused."""


def parse_json(text: str, path: str) -> Any:
    """Parses a document that may be anything.

    Raises:
        InvalidArgumentError: names ``path``: it is no JSON, or has numbers or depths that nobody can have meant.
    """
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_no_number, object_pairs_hook=_object)
    except ValueError as error:
        raise InvalidArgumentError.of(path, f"is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgumentError.of(path, "is nested too deeply") from error


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:  # whoever wrote it meant one of them
            raise ValueError(f"one object has {name!a} twice")
        found[name] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


class JsonFields:
    """One JSON object at a path of a document.

    Args:
        value: what was parsed.
        path: where it lies, as the user would write it.

    Raises:
        InvalidArgumentError: it is no object.
    """

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidArgumentError.of(path, f"must be an object, got {type(value).__name__}")
        self.path = path
        self._value = value

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def names(self) -> tuple[str, ...]:
        """Names of all fields, in order."""
        return tuple(self._carried(f"field {name!a}", str(name)) for name in self._value)

    def value(self, name: str) -> object:
        """Whatever is there."""
        return self._value.get(name)

    def integer(self, name: str, within: range = INT64) -> int:
        """A whole number, within what a message can carry."""
        value = self._typed(name, int)
        if value not in within:
            told = f"must be {within.start}..{within.stop - 1}, got {_shown(value)}"
            raise InvalidArgumentError.of(f"{self.path}.{name}", told)
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._typed(name, (int, float))
        try:
            number = float(value)
        except OverflowError:  # of an integer of hundreds of digits
            number = float("inf")
        if not isfinite(number):
            raise InvalidArgumentError.of(f"{self.path}.{name}", f"must be a finite number, got {_shown(value)}")
        return number

    def text(self, name: str) -> str:
        """A text that UTF-8 can carry; JSON may hold half of a surrogate pair."""
        return self._carried(name, self._typed(name, str))

    def object(self, name: str) -> JsonFields:
        """An object."""
        return JsonFields(self._typed(name, dict), f"{self.path}.{name}")

    def objects(self, name: str) -> tuple[JsonFields, ...]:
        """A list of objects."""
        items = self._typed(name, list)
        return tuple(JsonFields(item, f"{self.path}.{name}[{index}]") for index, item in enumerate(items))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        items = self._typed(name, list)
        return tuple(JsonFields({"text": item}, f"{self.path}.{name}").text("text") for item in items)

    def as_dict(self) -> dict[str, object]:
        """As it was parsed."""
        return {str(name): value for name, value in self._value.items()}

    def _carried(self, name: str, text: str) -> str:
        if not is_carried(text):
            raise InvalidArgumentError.of(f"{self.path}.{name}", "must be text that UTF-8 can carry")
        return text

    def _typed(self, name: str, kind: type[T] | tuple[type[T], ...]) -> T:
        value = self._value.get(name)
        # JSON's true is Python's 1.
        if isinstance(value, bool) or not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(each.__name__ for each in kinds)
            found = "nothing" if value is None else type(value).__name__
            raise InvalidArgumentError.of(f"{self.path}.{name}", f"must be {wanted}, got {found}")
        return value


def _shown(value: float) -> str:
    return repr(value) if abs(value) < 10**SHOWN_DIGITS else f"one of more than {SHOWN_DIGITS} digits"


@contextmanager
def meaning(path: str) -> Generator[None]:
    """Turns values that mean nothing into the user's error.

    Raises:
        InvalidArgumentError: the body raised ValueError.
    """
    try:
        yield
    except InvalidArgumentError:
        raise
    except ValueError as error:
        raise InvalidArgumentError.of(path, str(error)) from error
