"""Messages that map one to one to frozen dataclasses, taken apart and put together by tables of rules.

A table names the dataclass, the message and one rule a field; both must have the same fields, which is checked when the
table is made. A rule is a function of ``bounds``, or a ``Coder`` where the directions differ: another table, a closed
set, a list, a field that may be absent. Owns no rule and knows no message.

Decoding raises ValueError, whose place is put together on the way up; whoever is not part of a table calls
``from_proto``, which raises FieldError with the whole path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast, get_args

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from polyrhythm.codec.bounds import check_length
from polyrhythm.codec.fields import FieldError, located

V = TypeVar("V")
E = TypeVar("E", bound=StrEnum)
M = TypeVar("M", bound=Message)


class Coder:
    """A rule whose directions differ.

    Attributes:
        encode: from a value to what its field is given: of a message its fields by name; None leaves it out.
        decode: from what the field holds; raises ValueError where that means nothing.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class _Trusted:
    """The type of ``trusted``."""


trusted: Final = _Trusted()
"""The rule that takes any value: of what the coordinator says, and of numbers that are names."""

Rule: TypeAlias = Callable[[Any], Any] | Coder | _Trusted


class Mapped(Coder, Generic[V, M]):
    """A dataclass beside the message that carries it.

    Both directions are functions that are written out from the table, as a dataclass writes its own: to go through a
    table field by field takes a quarter more time, which plans of large fleets do not have. For the same reason all
    that a message holds is given to it as plain dictionaries, and no message is made to be copied into another.

    Args:
        kind: the dataclass.
        message: has the same fields.
        before: looks at the message before anything of it is taken apart, and raises ValueError.
        after: looks at what was decoded, likewise.
        rules: one a field; booleans need none. A message-typed field without ``Optional`` must be there.
    """

    encode: Callable[[V], dict[str, Any]]
    decode: Callable[[M], V]

    def __init__(
        self,
        kind: type[V],
        message: type[M],
        /,
        *,
        before: Callable[[M], None] | None = None,
        after: Callable[[V], None] | None = None,
        **rules: Rule,
    ) -> None:
        described = {field.name: field for field in message.DESCRIPTOR.fields}
        names = [field.name for field in fields(cast("Any", kind))]
        if set(names) != described.keys() or not rules.keys() <= described.keys():
            raise TypeError(f"{kind.__name__} and {message.DESCRIPTOR.full_name} do not have the same fields")
        for name in names:
            if name not in rules and described[name].type != FieldDescriptor.TYPE_BOOL:
                raise TypeError(f"{message.DESCRIPTOR.full_name}.{name} has no rule")
        used: dict[str, Any] = {"kind": kind, "before": before, "after": after}
        used |= {"missing": _missing, "located": located}
        present = {name for name in names if described[name].has_presence}
        self.kind = kind
        self._message = message
        self.encode = _function(_encoding(names, rules, used), used)
        self.decode = _function(_decoding(names, rules, present, used), used)

    def to_proto(self, value: V) -> M:
        """Puts a message together."""
        return self._message(**self.encode(value))

    def from_proto(self, proto: M, path: str | None = None) -> V:
        """Takes a message apart that is part of no other.

        Args:
            proto: the message.
            path: that errors begin with; the name of the message if None.

        Raises:
            FieldError: a field of it means nothing.
        """
        try:
            return self.decode(proto)
        except FieldError as error:
            raise located(_snake_case(proto.DESCRIPTOR.name) if path is None else path, error) from error


class OneOf(Generic[V, M]):
    """A union of dataclasses beside the message that carries one of them.

    Args:
        union: all of the dataclasses.
        message: has one ``oneof``, and nothing else.
        members: a table for each of its fields.
    """

    def __init__(self, union: Any, message: type[M], /, **members: Mapped[Any, Any]) -> None:
        (oneof,) = message.DESCRIPTOR.oneofs
        self.message = message
        self._oneof = oneof.name
        self._takes = {field: mapped.decode for field, mapped in members.items()}
        self._puts = {mapped.kind: (field, mapped.encode) for field, mapped in members.items()}
        if members.keys() != {field.name for field in oneof.fields} or self._puts.keys() != set(get_args(union)):
            raise TypeError(f"{message.DESCRIPTOR.full_name} does not have one field for each member of its union")

    def to_proto(self, value: V) -> M:
        """Puts the message together."""
        field, put = self._puts[type(value)]
        return self.message(**{field: put(value)})

    def from_proto(self, proto: M) -> V:
        """Takes the message apart.

        Raises:
            FieldError: it is of no kind that is known here, or a field of it means nothing.
        """
        field = proto.WhichOneof(self._oneof)
        if field is None:
            raise FieldError(self._oneof, "is not set, or is of a kind that this version does not know")
        try:
            return self._takes[field](getattr(proto, field))
        except FieldError as error:
            raise located(field, error) from error


class EnumTable(Coder, Generic[E]):
    """A closed set of the vocabulary beside the protobuf enum that carries it, with the same names behind a prefix.

    Args:
        kind: the vocabulary's enum.
        enum: the protobuf enum, which has one value more: unspecified, which means nothing here.
    """

    def __init__(self, kind: type[E], enum: Any) -> None:
        prefix = _snake_case(enum.DESCRIPTOR.name).upper()
        numbers: dict[str, int] = {name.removeprefix(f"{prefix}_"): number for name, number in enum.items()}
        if numbers.pop("UNSPECIFIED") != 0 or numbers.keys() != kind.__members__.keys():
            raise TypeError(f"{kind.__name__} and {enum.DESCRIPTOR.full_name} do not have the same members")
        self._members = {number: kind[name] for name, number in numbers.items()}
        self.encode = {member: numbers[member.name] for member in kind}.__getitem__
        self.decode = self._member

    def _member(self, number: int) -> E:
        member = self._members.get(number)
        if member is None:
            stated = f"has the unknown value {number}" if number else "is not set"
            raise ValueError(f"{stated}; allowed: {', '.join(self._members.values())}")
        return member


class Few(Coder):
    """A list that is short enough to be gone through.

    Args:
        most: entries; None for what the coordinator says.
        rule: of each.
        least: entries.
    """

    def __init__(self, most: int | None, rule: Rule, *, least: int = 0) -> None:
        put, take = _put(rule), _take(rule)

        def encode(value: Sequence[Any]) -> Sequence[Any]:
            return value if put is None else [put(entry) for entry in value]

        def decode(value: Sequence[Any]) -> tuple[Any, ...]:
            if most is not None:
                check_length(value, most)
            if len(value) < least:
                raise ValueError("must not be empty")
            if take is None:
                return tuple(value)
            decoded = list[Any]()
            try:
                for entry in value:
                    decoded.append(take(entry))
            except ValueError as error:
                raise located(f"[{len(decoded)}]", error) from error
            return tuple(decoded)

        self.encode, self.decode = encode, decode


class Optional(Coder):
    """A field that may be absent.

    Args:
        rule: where it is there.
        default: what its absence means.
    """

    def __init__(self, rule: Rule, default: Any = None) -> None:
        put, take = _put(rule), _take(rule)

        def encode(value: Any) -> Any:
            if value is None or value == default:
                return None
            return value if put is None else put(value)

        self.default = default
        self.encode, self.decode = encode, take or _same


class UnsetIsNone(Coder):
    """A closed set of which a user may leave the choice to others."""

    def __init__(self, table: EnumTable[Any]) -> None:
        self.encode = lambda value: None if value is None else table.encode(value)
        self.decode = lambda value: table.decode(value) if value else None


def _missing() -> NoReturn:
    raise ValueError("is missing")


def _same(value: Any) -> Any:
    return value


def _put(rule: Rule | None) -> Callable[[Any], Any] | None:
    return rule.encode if isinstance(rule, Coder) else None


def _take(rule: Rule | None) -> Callable[[Any], Any] | None:
    if isinstance(rule, Coder):
        return rule.decode
    return None if isinstance(rule, _Trusted) else rule


def _encoding(names: Sequence[str], rules: Mapping[str, Rule], used: dict[str, Any]) -> Iterator[str]:
    """``return {"name": put_name(value.name), ...}``."""
    yield "return {"
    for name in names:
        used[f"put_{name}"] = put = _put(rules.get(name))
        yield f"  '{name}': value.{name}," if put is None else f"  '{name}': put_{name}(value.{name}),"
    yield "}"


def _decoding(
    names: Sequence[str], rules: Mapping[str, Rule], present: set[str], used: dict[str, Any]
) -> Iterator[str]:
    """``at = "name"; name = take_name(value.name)`` for each field, in their order; then ``kind(name=name, ...)``."""
    yield "at = ''"
    yield "try:"
    yield from ["  before(value)"] if used["before"] is not None else []
    for name in names:
        rule = rules.get(name)
        used[f"take_{name}"] = take = _take(rule)
        taken = f"value.{name}" if take is None else f"take_{name}(value.{name})"
        yield f"  at = '{name}'"
        if isinstance(rule, Optional):
            used[f"default_{name}"] = rule.default
            yield f"  {name}_ = {taken} if value.HasField('{name}') else default_{name}"
        else:
            yield from [f"  if not value.HasField('{name}'): missing()"] if name in present else []
            yield f"  {name}_ = {taken}"
    yield "  at = ''"
    yield f"  decoded = kind({', '.join(f'{name}={name}_' for name in names)})"
    yield from ["  after(decoded)"] if used["after"] is not None else []
    yield "  return decoded"
    yield "except ValueError as error:"
    yield "  raise located(at, error) from error"


def _function(lines: Iterator[str], used: dict[str, Any]) -> Callable[[Any], Any]:
    """A function of ``value`` with these lines."""
    source = "".join(f"  {line}\n" for line in lines)
    made: dict[str, Any] = {}
    exec(f"def made(value):\n{source}", used, made)  # noqa: S102 - of names of fields, and of nothing from outside
    return made["made"]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
