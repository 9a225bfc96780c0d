"""The architectures of the demo models by name, and which of them an exported folder holds."""

from __future__ import annotations

import json
from pathlib import Path

from demo_model.family import Family
from demo_model.pixart import PixArtFamily
from demo_model.unet import UnetFamily

FAMILIES: dict[str, Family] = {"pixart": PixArtFamily(), "unet": UnetFamily()}


class UnknownFamilyError(ValueError):
    """A folder holds a pipeline that none of the families writes."""


def family_of(folder: Path) -> Family:
    """The family whose pipeline ``folder`` names.

    Raises:
        UnknownFamilyError: It is none of them.
    """
    name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    for family in FAMILIES.values():
        if family.pipeline_class.__name__ == name:
            return family
    known = ", ".join(family.pipeline_class.__name__ for family in FAMILIES.values())
    raise UnknownFamilyError(f"_class_name: {folder} holds a {name}, known are {known}")
