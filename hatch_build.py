"""Generate the protobuf and gRPC stubs beside their .proto files, when a wheel or an editable install is built.

Owns how stubs come to be: ``make protos`` runs this same file. Must not know what the protos say.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STUB_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


class ProtoGenerationError(RuntimeError):
    """protoc refused the .proto files; its own message has gone to standard error."""


def generate_stubs(source_root: Path) -> list[Path]:
    """Write the stubs of every .proto file under ``source_root`` beside it.

    Stubs are made in a scratch directory and moved into place one by one, so that a process which imports them
    at that moment sees the old file or the new one. Stubs whose .proto is gone are removed.

    Args:
        source_root: The directory that import paths in the .proto files start from.

    Returns:
        The stubs, sorted.

    Raises:
        ProtoGenerationError: There is no .proto file, or protoc finds fault with one.
    """
    protos = sorted(source_root.rglob("*.proto"))
    if not protos:
        raise ProtoGenerationError(f"no .proto file under {source_root}")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            "protoc",
            f"--proto_path={source_root}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={scratch}",
            f"--pyi_out={scratch}",
            f"--grpc_python_out={scratch}",
            *(str(proto) for proto in protos),
        ]
        if protoc.main(arguments) != 0:
            raise ProtoGenerationError(f"protoc failed on {source_root}")
        made = [path.relative_to(scratch) for pattern in STUB_PATTERNS for path in Path(scratch).rglob(pattern)]
        for name in made:
            _move_into_place(Path(scratch) / name, source_root / name)
    stubs = {source_root / name for name in made}
    for pattern in STUB_PATTERNS:
        for stale in set(source_root.rglob(pattern)) - stubs:
            stale.unlink()
    return sorted(stubs)


def _move_into_place(made: Path, target: Path) -> None:
    """Replace ``target`` by ``made`` atomically, although the two may lie on different file systems."""
    neighbour = target.with_name(target.name + ".new")
    shutil.copyfile(made, neighbour)
    neighbour.replace(target)


class StubsBuildHook(BuildHookInterface):
    """Runs the generator before hatchling collects files, for wheels and editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Generate; the static ``artifacts`` of pyproject.toml then take the stubs along."""
        generate_stubs(Path(self.root) / "protos")


if __name__ == "__main__":
    for stub in generate_stubs(Path(__file__).parent / "protos"):
        sys.stdout.write(f"{stub}\n")
