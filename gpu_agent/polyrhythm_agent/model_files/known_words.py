"""The words that a model was trained on, where its folder lists them. No torch.

Owns the name and form of the file, and what a user is told of a prompt of which the model knows nothing. A model of a
closed vocabulary draws something whatever it is asked for; nothing else would say that it is not what was asked. The
file decides no picture, so the folder's fingerprint leaves it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.folder_text import read_text

KNOWN_WORDS_FILE = "known_words.json"
EXAMPLES = 5
_WORD = re.compile(r"\w+(?:[-'\u2019]\w+)*")
_SIMILAR = 0.75
"""Of two words, by difflib's ratio: "foxes" is like "fox", "castle" not like "candle"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWords:
    """What a model can be asked for.

    Attributes:
        subjects: what it draws, by the names that it was trained on.
        other_words: that it knows, and that name no subject by themselves: colours, articles, the background.
    """

    subjects: tuple[str, ...]
    other_words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self._naming():
            raise ValueError(f"no word of {len(self.subjects)} subjects names one")

    def notice(self, model: str, prompt: str) -> str | None:
        """What a user should know of a prompt; None where it is empty, or has a word of a subject."""
        words, naming = set(_words(prompt)), self._naming()
        if not prompt.strip() or words & naming:
            return None
        listed = ", ".join(self._examples(words, naming))
        return (
            f"no word of this prompt names anything that model {model} knows, so the picture need not show it; some of "
            f"its {len(self.subjects)} subjects are {listed} ({KNOWN_WORDS_FILE} in its folder lists all)"
        )

    def _naming(self) -> frozenset[str]:
        return frozenset(word for subject in self.subjects for word in _words(subject)).difference(self.other_words)

    def _examples(self, words: Iterable[str], naming: Iterable[str]) -> tuple[str, ...]:
        """A few subjects, those first whose names are nearly in the prompt."""
        near = {match for word in sorted(words) for match in get_close_matches(word, naming, cutoff=_SIMILAR)}
        return tuple(sorted(self.subjects, key=lambda subject: near.isdisjoint(_words(subject)))[:EXAMPLES])


def read_known_words(folder: Path) -> KnownWords | None:
    """What a model's folder says of its words; None where it says nothing.

    Raises:
        ModelFolderError: the file is not of its form.
    """
    path = folder / KNOWN_WORDS_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(read_text(path))
        subjects, others = tuple(content["subjects"]), tuple(content["other_words"])
        if not all(isinstance(word, str) for word in (*subjects, *others)):
            raise ValueError("not all of it is text")
        return KnownWords(subjects=subjects, other_words=others)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFolderError(f"model: {path} must list subjects and other_words: {error!r}") from error


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
