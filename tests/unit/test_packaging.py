"""The two ends of the stub pin, and that every third-party import is declared by the role that uses it."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from polyrhythm.model.shipped_models import DEFAULT_MODEL
from tests.checks.leftovers import leftovers

REPOSITORY = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
OWN_PACKAGES = frozenset({"polyrhythm", "polyrhythm_coordinator", "polyrhythm_agent", "polyrhythm_client"})
PACKAGE_BY_ROLE = {
    "coordinator": "coordinator/polyrhythm_coordinator",
    "agent": "gpu_agent/polyrhythm_agent",
    "client": "client/polyrhythm_client",
}


def lower_bound(requirement: Requirement) -> Version:
    """The version after ``>=`` or ``==``."""
    return next(Version(s.version) for s in requirement.specifier if s.operator in {">=", "=="})


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by the canonical name of their distribution."""
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


OPTIONAL_BY_ROLE = {"coordinator": "simulate", "client": "pictures"}
"""Extras without which a role runs; what needs them is refused with a message that names the extra."""
IMPORTED_BY_OTHERS = frozenset({"sentencepiece"})
"""What transformers asks for only when it reads a T5 tokenizer: no module of ours imports it."""


def declared_for(role: str | None) -> set[str]:
    """Canonical names of the distributions that a role's extra installs, the base dependencies included."""
    project = PYPROJECT["project"]
    extra = project["optional-dependencies"][role] if role else []
    return set(requirements([*project["dependencies"], *extra]))


def optional_for(role: str | None) -> set[str]:
    """Distributions of a role's optional extra."""
    extra = OPTIONAL_BY_ROLE.get(role or "")
    return set(requirements(PYPROJECT["project"]["optional-dependencies"][extra])) if extra else set()


def third_party_imports(package: Path) -> dict[str, str]:
    """Top-level names that the package's modules import from outside, each with one module that does."""
    found: dict[str, str] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=aliases):
                    names = [alias.name for alias in aliases]
                case ast.ImportFrom(module=str(module)):
                    names = [module]
                case _:
                    continue
            for name in names:
                found.setdefault(name.split(".")[0], path.relative_to(REPOSITORY).as_posix())
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | OWN_PACKAGES}


def test_generator_and_runtime_are_pinned_together() -> None:
    build = requirements(PYPROJECT["build-system"]["requires"])
    runtime = requirements(PYPROJECT["project"]["dependencies"])
    development = requirements(PYPROJECT["project"]["optional-dependencies"]["dev"])
    assert str(build["grpcio-tools"]) == str(development["grpcio-tools"])
    assert lower_bound(build["grpcio-tools"]) == lower_bound(runtime["grpcio"])


def test_no_stub_is_newer_than_the_lowest_runtime_allowed() -> None:
    runtime = requirements(PYPROJECT["project"]["dependencies"])
    stubs = sorted((REPOSITORY / "protos").rglob("*_pb2.py"))
    assert stubs, "no stubs: run `make protos`"
    for stub in stubs:
        written_for = re.search(r"^# Protobuf Python Version: (\S+)$", stub.read_text(encoding="utf-8"), re.MULTILINE)
        assert written_for is not None, stub
        assert Version(written_for.group(1)) <= lower_bound(runtime["protobuf"]), stub


def test_every_proto_has_its_stubs() -> None:
    for proto in (REPOSITORY / "protos").rglob("*.proto"):
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
            assert proto.with_name(proto.stem + suffix).is_file(), proto


@pytest.mark.parametrize("role", [None, *PACKAGE_BY_ROLE])
def test_a_role_declares_what_it_imports(role: str | None) -> None:
    """A role's extra must be enough to run it; what another package happens to bring along does not count."""
    package = REPOSITORY / (PACKAGE_BY_ROLE[role] if role else "protos/polyrhythm")
    distributions = packages_distributions()
    declared = declared_for(role) | optional_for(role)
    undeclared = {
        f"{path}: {name}"
        for name, path in third_party_imports(package).items()
        if not {canonicalize_name(d) for d in distributions.get(name, [])} & declared
    }
    assert undeclared == set()


@pytest.mark.parametrize("role", PACKAGE_BY_ROLE)
def test_a_role_declares_nothing_that_it_does_not_import(role: str) -> None:
    distributions = packages_distributions()
    imported = {
        canonicalize_name(distribution)
        for name in third_party_imports(REPOSITORY / PACKAGE_BY_ROLE[role])
        for distribution in distributions.get(name, [])
    }
    extra = set(requirements(PYPROJECT["project"]["optional-dependencies"][role]))
    assert extra - imported - IMPORTED_BY_OTHERS == set()


def test_the_vocabulary_declares_the_messages_of_google_that_its_errors_travel_in() -> None:
    """They share the name ``google`` with protobuf, which the tests above cannot tell apart."""
    importing = (REPOSITORY / "protos/polyrhythm/codec/status.py").read_text(encoding="utf-8")
    assert "from google.rpc import" in importing
    assert "googleapis-common-protos" in declared_for(None)


def test_the_wheel_holds_the_default_model_and_no_other() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert [path for path in wheel["only-include"] if path.startswith("models")] == [f"models/{DEFAULT_MODEL}"]
    assert wheel["sources"][f"models/{DEFAULT_MODEL}"] == f"polyrhythm_agent/models/{DEFAULT_MODEL}"
    assert "force-include" not in wheel, "takes along what is excluded"


@pytest.mark.parametrize("rules", [".gitignore", "pyproject.toml"])
def test_what_a_calibration_leaves_behind_is_in_no_distribution(rules: str, tmp_path: Path) -> None:
    """By either file alone: a build from an image's folder has no .gitignore, and git reads no pyproject.toml."""
    shutil.copy(REPOSITORY / rules, tmp_path)
    folder = tmp_path / "models" / DEFAULT_MODEL
    folder.mkdir(parents=True)
    (folder / "calibration.json").touch()
    left = leftovers(folder)
    for name in left:
        (folder / name).touch()
    taken = {Path(file.path).name for file in SdistBuilder(str(tmp_path)).recurse_included_files()}
    assert "calibration.json" in taken
    assert not taken.intersection(left)
