"""How a model of the Hugging Face hub is written: ``org/name``, or ``org/name@revision``. Fetches nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

WEIGHTS_SUFFIX = ".safetensors"
"""Of the only files that weights are read from."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"  # no leading dot, so neither ./name nor ../name
_HUB_ID = re.compile(rf"(?P<repository>{_PART}/{_PART})(@(?P<revision>[A-Za-z0-9_][A-Za-z0-9._/-]{{0,254}}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubId:
    """One model of the hub.

    Attributes:
        repository: ``org/name``.
        revision: branch, tag or commit; None for the hub's default.
    """

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def read_hub_id(text: str) -> HubId | None:
    """The model that a text names, or None if it cannot be the name of one. An existing path of this name goes first.

    Exactly one slash, and no part that starts with a dot or a tilde: everything else is a path, and so is what
    ends like a file of weights.
    """
    found = _HUB_ID.fullmatch(text)
    if found is None or found["repository"].endswith(WEIGHTS_SUFFIX):
        return None
    return HubId(repository=found["repository"], revision=found["revision"])
