"""The JSON document of a study: read as that of the study it names, continued under the same settings, written whole.

Owns where and how it lies on disk. What stands in it, the study decides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
QUICK_RESULTS = REPOSITORY / "build" / "benchmarks"
"""Of a run that only shows that everything works."""


class OtherSettingsError(ValueError):
    """An earlier result was made with other settings, so nothing can be added to it."""


def read_document(path: Path, title: str) -> dict[str, Any]:
    """A result file's document.

    Args:
        path: of the file.
        title: of the study, as the document names it.

    Raises:
        OSError: there is no such file.
        ValueError: it is no result file of this study.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("title") != title:
        raise ValueError(f"{path} is no result file of this study")
    return document


def earlier_document(path: Path, title: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """A result file's document, to be added to.

    Args:
        path: of the file.
        title: of the study, as the document names it.
        settings: what the study is asked for now.

    Raises:
        OSError: there is no such file.
        OtherSettingsError: it was made with other settings.
        ValueError: it is no result file of this study.
    """
    document = read_document(path, title)
    if document["settings"] != dict(settings):
        raise OtherSettingsError(f"{path.name} was made with {document['settings']}, not with {dict(settings)}")
    return document


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Puts a document in the place of the one before; whoever reads sees one or the other, never a part.

    Raises:
        ValueError: a number in it is not finite.
    """
    scratch = path.with_suffix(".json.new")
    scratch.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
