"""Class labels as prompts: a name or a number to the class that a model was trained with.

Owns the reading of a pipeline's label names and the refusal of every other text. Must not know what a class is for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.errors import ModelFolderError

NEAR_MATCHES = 3
SHOWN_CHARACTERS = 60
"""Of a prompt that is no label; a message is not the place for a page of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLabels:
    """The classes of a model.

    Attributes:
        count: classes are numbered from 0 to below this.
        numbers: classes that have a name, by the name as it is written. ImageNet calls both a bird and a machine
            "crane", so a name may have several.
    """

    count: int
    numbers: Mapping[str, frozenset[int]]

    @classmethod
    def read(cls, id2label: Any, count: int) -> ClassLabels:
        """Reads what a pipeline's index says: class number to names, separated by commas; None for no names.

        Raises:
            ModelFolderError: it is no such thing, or names a class that the model does not have.
        """
        if id2label is not None and not isinstance(id2label, dict):
            raise ModelFolderError(f"model: id2label is a {type(id2label).__name__}, not an object")
        numbers: defaultdict[str, set[int]] = defaultdict(set)
        for key, names in (id2label or {}).items():
            number = _number(str(key))
            if number is None or number >= count or not isinstance(names, str):
                raise ModelFolderError(f"model: id2label names {key!r} {names!r}; the model has classes 0..{count - 1}")
            for name in names.split(","):
                numbers[name.strip()].add(number)
        return cls(count=count, numbers={name: frozenset(found) for name, found in numbers.items() if name})

    def number(self, prompt: str) -> int:
        """The class that a prompt means: its number, or one of its names, in any case.

        A name that is written as in the model comes before names that differ from it in case: ImageNet calls a dog
        "Cardigan" and a garment "cardigan".

        Raises:
            InvalidArgumentError: names ``prompt``: it is no class, or its name is that of several.
        """
        wanted = prompt.strip()
        number = _number(wanted)
        if number is not None:
            if number < self.count:
                return number
            raise InvalidArgumentError.of("prompt", f"class numbers are 0..{self.count - 1}, got {_shown(wanted)}")
        found = self.numbers.get(wanted) or self._whatever_case(wanted)
        if not found:
            raise InvalidArgumentError.of("prompt", self._no_label(wanted))
        if len(found) > 1:
            listed = ", ".join(map(str, sorted(found)))
            raise InvalidArgumentError.of("prompt", f"{wanted!r} is the name of classes {listed}; give the number")
        return next(iter(found))

    def _whatever_case(self, wanted: str) -> frozenset[int]:
        folded = wanted.casefold()
        return frozenset[int]().union(*(found for name, found in self.numbers.items() if name.casefold() == folded))

    def _no_label(self, wanted: str) -> str:
        named = "the name or the number" if self.numbers else "the number"
        allowed = f"this model paints classes: give {named} (0..{self.count - 1}) of one, got {_shown(wanted)}"
        names = {name.casefold(): name for name in self.numbers}
        near = [names[match] for match in get_close_matches(wanted.casefold(), names, n=NEAR_MATCHES)]
        return f"{allowed}; did you mean {' or '.join(map(repr, near))}?" if near else allowed


def _number(text: str) -> int | None:
    """A number written in plain digits, of a length that no class number exceeds."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")
