"""Import rules that a graph of packages cannot express: who may name a generated stub, and who may name NVML."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCE_ROOTS = ("protos", "coordinator", "gpu_agent", "client")

STUB_IMPORTERS = (
    "protos/polyrhythm/codec/",
    "coordinator/polyrhythm_coordinator/server.py",
    "coordinator/polyrhythm_coordinator/grpc_api/",
    "gpu_agent/polyrhythm_agent/daemon/coordinator_link.py",
    "client/polyrhythm_client/connection.py",
)
"""The codec, the servicers and the links; ``server.py`` names the services when it registers the servicers."""

NVML_IMPORTERS = ("gpu_agent/polyrhythm_agent/host/device.py",)
BROAD_EXCEPTS_MAX = 4
"""Where whatever happens must reach somebody: the core, a worker's channel, a model's code, and work in threads."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every hand-written module of the four packages: its path in the repository and its tree."""
    for root in SOURCE_ROOTS:
        for path in sorted((REPOSITORY / root).rglob("*.py")):
            if "_pb2" not in path.name:
                yield path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all that ``tree`` imports, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_stub(name: str) -> bool:
    """Whether a dotted name goes into a generated module."""
    return any(part.endswith(("_pb2", "_pb2_grpc")) for part in name.split(".") if part) and name.startswith(
        "polyrhythm"
    )


def module_of(path: str) -> str:
    """The dotted name of a module, from its path in the repository."""
    return path.partition("/")[2].removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_no_modules_import_each_other() -> None:
    imports = {module_of(path): set(imported_names(tree)) for path, tree in sources()}
    graph = {
        module: {name for known in names for name in (known, known.rpartition(".")[0]) if name in imports} - {module}
        for module, names in imports.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_stubs_stay_at_the_edge() -> None:
    found = [
        f"{path}: {name}"
        for path, tree in sources()
        if not path.startswith(STUB_IMPORTERS)
        for name in imported_names(tree)
        if is_stub(name)
    ]
    assert found == []


def test_nvml_is_imported_in_one_module() -> None:
    found = [
        f"{path}: {name}"
        for path, tree in sources()
        if not path.startswith(NVML_IMPORTERS)
        for name in imported_names(tree)
        if name.split(".")[0] == "pynvml"
    ]
    assert found == []


def test_broad_excepts_are_few() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert len(found) <= BROAD_EXCEPTS_MAX, found


def test_the_rules_see_an_offender() -> None:
    tree = ast.parse("from polyrhythm.v1 import image_pb2\nimport pynvml\n")
    names = list(imported_names(tree))
    assert [is_stub(name) for name in names] == [True, False]
    assert "pynvml" in names
