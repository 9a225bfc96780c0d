"""What a planted defect is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedDefect:
    """One fault.

    Attributes:
        name: short, unique.
        file: in which it is planted, from the root of the project.
        original: text that occurs exactly once in the file.
        planted: what stands there instead.
        test_id: the one test that must fail.
        why: what a user would suffer.
    """

    name: str
    file: str
    original: str
    planted: str
    test_id: str
    why: str
