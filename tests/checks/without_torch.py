"""A plugin of pytest for suites that are quick: whoever imports torch or what is built on it fails.

Loading these libraries takes longer than all the tests that can do without them. Whether they are installed can still
be asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

FORBIDDEN = ("torch", "diffusers", "transformers")


class _Refusing(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"a quick suite imports {module.__name__}")


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in FORBIDDEN else None
        if spec is not None:
            spec.loader = _Refusing()
        return spec


sys.meta_path.insert(0, _Finder())
