"""Fields that mean nothing: how the path of one is spelled, from the message on in which it lies.

Knows no message. How large and how long values may be is in ``bounds``, how messages are taken apart in ``mapping``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from polyrhythm.errors import WireError
from polyrhythm.model.calibration import FigureError


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


def located(path: str, error: ValueError) -> FieldError:
    """What is wrong at a path, or further down the path of the error.

    Args:
        path: of the field; empty for the message itself.
        error: says what is wrong, and maybe with which part of the field.
    """
    if not isinstance(error, FieldError | FigureError):
        return FieldError(path, str(error))
    between = "." if path and error.field and not error.field.startswith("[") else ""
    return FieldError(f"{path}{between}{error.field}", error.description)


@contextmanager
def at(path: str) -> Generator[None]:
    """Names the field that a body looks at.

    Raises:
        FieldError: the body raised ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise located(path, error) from error
