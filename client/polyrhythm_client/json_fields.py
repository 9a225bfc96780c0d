"""Fields of a JSON document that a user handed in, each checked for its type.

Owns how the path of an offending field is spelled. Knows no document.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from polyrhythm.errors import InvalidArgumentError

T = TypeVar("T")


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
        return tuple(str(name) for name in self._value)

    def value(self, name: str) -> object:
        """Whatever is there."""
        return self._value.get(name)

    def integer(self, name: str) -> int:
        """A whole number."""
        return self._typed(name, int)

    def number(self, name: str) -> float:
        """A number."""
        return float(self._typed(name, (int, float)))

    def text(self, name: str) -> str:
        """A text."""
        return self._typed(name, str)

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

    def _typed(self, name: str, kind: type[T] | tuple[type[T], ...]) -> T:
        value = self._value.get(name)
        # JSON's true is Python's 1.
        if isinstance(value, bool) or not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(each.__name__ for each in kinds)
            found = "nothing" if value is None else type(value).__name__
            raise InvalidArgumentError.of(f"{self.path}.{name}", f"must be {wanted}, got {found}")
        return value


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
