"""Whether the installed torch can use CUDA at all, read from its metadata: the daemon never imports torch."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_CUDA_LINE = re.compile(r"^cuda\s*(?::[^=\n]*)?=\s*(?P<cuda>.+?)\s*$", re.MULTILINE)


def cuda_obstacle() -> str:
    """Why the installed torch cannot use a CUDA device; empty where nothing speaks against it."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return "torch is not installed"
    spec = find_spec("torch")
    file = Path(spec.origin).parent / "version.py" if spec is not None and spec.origin is not None else None
    return obstacle_of(installed, file.read_text(encoding="utf-8") if file is not None and file.is_file() else "")


def obstacle_of(installed: str, version_file: str) -> str:
    """What a build's version and the text of its ``torch/version.py`` say.

    Args:
        installed: version of the distribution, such as ``2.13.0+cpu``.
        version_file: names the CUDA version, or None for a build without; may be empty where it cannot be found.

    Returns:
        One sentence, or nothing.
    """
    cuda = _CUDA_LINE.search(version_file)
    without = cuda is not None and cuda["cuda"] == "None"
    return f"torch {installed} has no CUDA" if without or installed.endswith("+cpu") else ""
