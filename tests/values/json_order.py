"""JSON that says the same in another order."""

from __future__ import annotations

from typing import Any


def upside_down(value: Any) -> Any:
    """Objects with their keys in reverse, at every depth; lists as they are."""
    if isinstance(value, dict):
        return {name: upside_down(value[name]) for name in reversed(value)}
    return [upside_down(each) for each in value] if isinstance(value, list) else value
