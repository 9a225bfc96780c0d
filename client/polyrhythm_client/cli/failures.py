"""How a command that fails says so: lines for a person, one object for a program, the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import ErrorCode, InvalidArgumentError, PolyrhythmError, WireError
from polyrhythm_client.cli.request_fields import in_options
from polyrhythm_client.cli.terminal import Screen

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
_BAD_INPUT_CODES = frozenset({ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND})


def error_console() -> Console:
    """A console on standard error as it is now; made anew for each command, so that redirections are seen."""
    return Screen(stderr=True, highlight=False, soft_wrap=True)


def show_error(console: Console, error: PolyrhythmError) -> int:
    """Says what went wrong, a line a field.

    Returns:
        The exit code: 2 for bad input, 1 for anything else.
    """
    error = in_options(error)
    if isinstance(error, InvalidArgumentError):
        lines = [f"{violation.field}: {violation.description}" for violation in error.violations]
    else:
        lines = [str(error)]
    for line in lines:
        console.print(f"[red]error:[/red] {escape(line)}")
    # Nonsense from another process has the code of bad input, and is none of the user's.
    blamed = error.code in _BAD_INPUT_CODES and not isinstance(error, WireError)
    return EXIT_BAD_INPUT if blamed else EXIT_FAILED


def error_account(error: PolyrhythmError) -> dict[str, Any]:
    """The one object that a command prints with ``--json`` where it fails.

    ``error`` has its code, the message and, of bad input, each field with what is wrong with it. The account of a
    ``FailedAccountError`` is beside it.
    """
    error = in_options(error)
    account: dict[str, Any] = {"code": error.code.value, "message": str(error)}
    if isinstance(error, InvalidArgumentError):
        account["fields"] = [{"field": wrong.field, "description": wrong.description} for wrong in error.violations]
    beside = error.account if isinstance(error, FailedAccountError) else {}
    return {**beside, "error": account}


class FailedAccountError(PolyrhythmError):
    """What was asked for has failed, and there is an account of how.

    Attributes:
        account: printed with ``--json`` beside the error.
    """

    def __init__(self, message: str, account: Mapping[str, object]) -> None:
        self.account = account
        super().__init__(message)
