"""What a document writes against what was understood of it: a number is no boolean and no text. Pure.

Python takes ``true`` for 1 and its validators take "1" for it as well; whoever wrote it meant something else. Nor is
an integer one that nothing is measured in: Python computes with those, and fails where it is to print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Location = tuple[int | str, ...]

INTEGER_BITS_MAX = 64


def mistaken(written: object, understood: object, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Values that were understood as values of another kind, and integers that are far too large.

    Args:
        written: as it was parsed.
        understood: what was made of it: objects with attributes, lists and values.
        location: of both in the document.

    Yields:
        The location of each, and what is wrong with it.
    """
    if isinstance(written, Mapping):
        for name, value in written.items():
            yield from mistaken(value, getattr(understood, str(name), None), (*location, name))
    elif isinstance(written, list):
        parts = understood if isinstance(understood, tuple | list) else ()
        for index, (value, made) in enumerate(zip(written, parts, strict=False)):
            yield from mistaken(value, made, (*location, index))
    elif isinstance(written, int) and written.bit_length() > INTEGER_BITS_MAX:
        yield location, f"must be a number of at most {INTEGER_BITS_MAX} bits, got one of {written.bit_length()}"
    elif (meant := _kind(understood)) and (given := _kind(written)) and meant != given:
        yield location, f"must be {meant}, got {given}"


def _kind(value: object) -> str:
    """Nothing for what has no other kind that could be mistaken for it."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "a text" if isinstance(value, str) else ""
