"""What every decoder asks of a field: an enum value that is known, a part that is there, an invariant that holds.

Owns how the path of an offending field is spelled. Knows no message. How large and how long things may be is in
``bounds``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Generic, TypeVar

from google.protobuf.message import Message

from polyrhythm.errors import WireError

E = TypeVar("E", bound=StrEnum)
P = TypeVar("P", bound=int)
M = TypeVar("M", bound=Message)


class FieldError(WireError):
    """A field of a message does not mean anything.

    Attributes:
        field: path of the field, such as ``plan.segments[1].exchange``.
        description: what is wrong with it.
    """

    def __init__(self, field: str, description: str) -> None:
        self.field = field
        self.description = description
        super().__init__(f"{field}: {description}")


class EnumTable(Generic[E, P]):
    """A closed set of the vocabulary beside the protobuf enum that carries it.

    Args:
        kind: the vocabulary's enum.
        table: the protobuf value of every member.
    """

    def __init__(self, kind: type[E], table: Mapping[E, P]) -> None:
        missing = [member for member in kind if member not in table]
        if missing:
            raise TypeError(f"{kind.__name__} members without a protobuf value: {missing}")
        self._kind = kind
        self._numbers = dict(table)
        self._members = {int(number): member for member, number in table.items()}

    def to_proto(self, member: E) -> P:
        """The protobuf value."""
        return self._numbers[member]

    def from_proto(self, number: int, path: str) -> E:
        """The member.

        Raises:
            FieldError: the value is unspecified or unknown here.
        """
        member = self._members.get(number)
        if member is None:
            stated = "is not set" if number == 0 else f"has the unknown value {number}"
            raise FieldError(path, f"{stated}; allowed: {', '.join(self._kind)}")
        return member


@contextmanager
def invariants(path: str) -> Generator[None]:
    """Turns a broken invariant of the vocabulary into an error that names the field.

    Raises:
        FieldError: the body raised ValueError.
    """
    try:
        yield
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError(path, str(error)) from error


def part(message: Message, field: str, value: M, path: str) -> M:
    """A message-typed field that must be there.

    Raises:
        FieldError: it is absent.
    """
    if not message.HasField(field):
        raise FieldError(f"{path}.{field}", "is missing")
    return value
