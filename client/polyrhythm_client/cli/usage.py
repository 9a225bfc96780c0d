"""What the command line itself does not understand, refused like any other input: a line that names the field.

Owns the wording of the parser's own errors. Which options there are is the commands' business.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_client.cli.failures import EXIT_FAILED, error_account, error_console, show_error
from polyrhythm_client.cli.terminal import say

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Of the parser under typer, which is another package's or typer's own, by its version."""
_OF_A_VALIDATOR = "Value error, "


class CommandLine(TyperGroup):
    """All commands. An error of usage is no page of its own, and one JSON object where ``--json`` is given."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Runs a command and, standalone, ends the process with its exit code."""
        if not standalone_mode:
            return super().main(args, *rest, standalone_mode=False, **extra)
        given = sys.argv[1:] if args is None else list(args)
        try:
            # Without any argument it shows its help, which is an error of usage to the parser.
            code = super().main(args, *rest, standalone_mode=not given, **extra)
        except UsageError as error:
            code = _refuse(error, as_json="--json" in given)
        except typer.Abort:
            code = EXIT_FAILED
        sys.exit(code or 0)


def _refuse(error: Exception, *, as_json: bool) -> int:
    refusal = InvalidArgumentError.of(_field(error), _message(error))
    if as_json:
        say(json.dumps(error_account(refusal), ensure_ascii=False))
    return show_error(error_console(), refusal)


def _field(error: Exception) -> str:
    """The option without its dashes, or the argument; the command where it is neither."""
    parameter = getattr(error, "param", None)
    if parameter is not None:
        return max(parameter.opts, key=len).lstrip("-")
    return getattr(error, "option_name", "command").lstrip("-")


def _message(error: Exception) -> str:
    whole = error.format_message()  # pyright: ignore[reportAttributeAccessIssue] - every error of usage has it
    wrong_value = type(error) is typer.BadParameter
    message = (error.message if wrong_value else whole).removeprefix(_OF_A_VALIDATOR).rstrip(".")
    return message[:1].lower() + message[1:]
