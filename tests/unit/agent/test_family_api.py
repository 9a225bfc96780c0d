"""Families of other packages have one module of this project to know: the example and its page show no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polyrhythm_agent.family_api as face

REPOSITORY = Path(__file__).parents[3]
OWN_PACKAGES = ("polyrhythm", "polyrhythm_agent", "polyrhythm_coordinator", "polyrhythm_client")
FACE = "polyrhythm_agent.family_api"


def own_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in OWN_PACKAGES)


def test_the_example_imports_the_face_and_nothing_else_of_this_project() -> None:
    files = list((REPOSITORY / "examples" / "adding_a_model").glob("*.py"))
    found = {name for file in files for name in own_imports(file.read_text(encoding="utf-8"))}
    assert found == {FACE}


def test_the_page_names_no_other_module() -> None:
    page = (REPOSITORY / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    named = {name.removesuffix(".py") for name in re.findall(r"\bpolyrhythm_agent[./][\w./]+\w", page)}
    assert named <= {FACE, "polyrhythm_agent/model_files/families"}, named
    assert not re.findall(r"`(?:denoiser|ports|exchange|layers)\.", page)


def test_the_face_has_what_it_says_and_every_name_of_the_page() -> None:
    assert [name for name in face.__all__ if not hasattr(face, name)] == []
    page = (REPOSITORY / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    classes = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", page)) - {"MosaicPipeline", "CountTokens"}
    assert classes - set(face.__all__) == set()


def test_a_second_module_would_be_seen() -> None:
    assert list(own_imports("import torch\nfrom polyrhythm_agent.errors import ModelFolderError\n")) == [
        "polyrhythm_agent.errors"
    ]
