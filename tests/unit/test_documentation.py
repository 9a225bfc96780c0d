"""Tables of the documentation against what they are about."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from polyrhythm.errors import ErrorCode, InvalidArgumentError, PolyrhythmError
from polyrhythm_client.cli.failures import show_error

DOCS = Path(__file__).parents[2] / "docs"


def test_every_error_code_is_explained_with_its_exit_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d)", (DOCS / "json.md").read_text(), flags=re.MULTILINE)
    console = Console(file=io.StringIO())
    expected: dict[str, str] = {}
    for code in ErrorCode:
        error = InvalidArgumentError.of("field", "wrong") if code is ErrorCode.INVALID_ARGUMENT else PolyrhythmError()
        error.code = code
        expected[code.value] = str(show_error(console, error))
    assert dict(rows) == expected
