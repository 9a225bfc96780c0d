"""From a dataclass of options to a command: what the parser needs to know is read off the fields.

An option is a field ``name: Annotated[type, typer.Option(...)] = default``; a field that is such a dataclass itself
brings all of its options. Knows no option by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import Parameter, Signature
from typing import Any, get_args, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What an option is for, where its annotation says it.

    Attributes:
        commands: that have the option; empty for all.
        field: of the request that it sets, as a path; empty for its own name.
    """

    commands: tuple[str, ...] = ()
    field: str = ""


def as_command(run: Callable[[Any], None]) -> Callable[..., None]:
    """A function for typer that has the command's options as parameters.

    Args:
        run: the command, by its name; takes one dataclass of options as ``given``.
    """
    table, name = get_type_hints(run)["given"], run.__name__

    def command(**values: Any) -> None:
        run(_filled(table, name, values))

    parameters = [
        Parameter(
            option.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if option.default is MISSING else option.default,
            annotation=annotation,
        )
        for option, annotation in _options(table, name)
    ]
    command.__name__, command.__doc__ = name, run.__doc__
    vars(command)["__signature__"] = Signature(parameters)
    return command


def use_of(annotation: object) -> Use:
    """What an option is for, by its annotation."""
    return next((said for said in get_args(annotation) if isinstance(said, Use)), Use())


def _options(table: Any, command: str) -> Iterator[tuple[Field[Any], Any]]:
    """The options of a command with their annotations, in order."""
    annotations = get_type_hints(table, include_extras=True)
    for option in fields(table):
        annotation = annotations[option.name]
        commands = use_of(annotation).commands
        if is_dataclass(annotation):
            yield from _options(annotation, command)
        elif not commands or command in commands:
            yield option, annotation


def _filled(table: Any, command: str, values: dict[str, Any]) -> Any:
    """The dataclass of a command's options with what the user gave; defaults where the command has no such option."""
    own = {option.name for option, _ in _options(table, command)}
    kinds = get_type_hints(table)
    given = {
        option.name: _filled(kinds[option.name], command, values)
        if is_dataclass(kinds[option.name])
        else values[option.name]
        for option in fields(table)
        if is_dataclass(kinds[option.name]) or option.name in own
    }
    return table(**given)
