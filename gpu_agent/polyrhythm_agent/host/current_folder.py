"""The folder that a process stands in, which somebody may have deleted. No torch: asked before that is loaded."""

from __future__ import annotations

from pathlib import Path

from polyrhythm_agent.errors import NoCurrentFolderError


def require_current_folder(whose: str) -> None:
    """Checks that the current folder is still there; where it is not, torch's libraries end who loads them.

    Args:
        whose: process needs it, as in ``libraries of the worker``.

    Raises:
        NoCurrentFolderError: it is not.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        told = f"the current folder does not exist any more, and libraries of {whose} need one"
        raise NoCurrentFolderError(told) from None
