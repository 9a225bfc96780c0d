"""Installations of some roles: what they hold works, and what they do not is one sentence that says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from polyrhythm.process.roles import NEEDED, Role

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = ("protos", "coordinator", "gpu_agent", "client")


def needed_by(*roles: Role) -> list[Distribution]:
    """Everything that pip would install with some roles' extras."""
    listed = [*PROJECT["dependencies"], *(line for role in roles for line in PROJECT["optional-dependencies"][role])]
    waiting, found = [Requirement(line) for line in listed], dict[str, Distribution]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        waiting += map(Requirement, found[name].requires or [])
    return list(found.values())


def top_level(package: Distribution) -> set[str]:
    """Names that a distribution puts into site-packages."""
    return {file.parts[0] for file in package.files or [] if file.parts[0] not in {"..", "__pycache__"}}


def install(folder: Path, *roles: Role) -> dict[str, str]:
    """An environment in which python finds the project and what these roles need of others, and nothing else."""
    for package in needed_by(*roles):
        home = Path(str(package.locate_file("")))
        for name in top_level(package):
            if not (folder / name).exists():
                (folder / name).symlink_to(home / name)
    path = [str(folder), *(str(REPOSITORY / source) for source in SOURCES)]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("POLYRHYTHM_", "PYTHON"))}
    return {**own, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory):  # noqa: ANN201 - a cached function
    @cache
    def made(*roles: Role) -> dict[str, str]:
        return install(tmp_path_factory.mktemp("-".join(roles)), *roles)

    return made


def run(environment: dict[str, str], folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs an installed command: ``-S`` hides what is installed beside it."""
    program, *arguments = command.split()
    module, function = PROJECT["scripts"][program].split(":")
    script = f"import sys; from {module} import {function} as main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-S", "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("roles", "command", "lacks"),
    [
        ((Role.CLIENT,), "polyrhythm generate x --speeds 1", "coordinator,agent"),
        ((Role.CLIENT,), "polyrhythm up --speeds 1", "coordinator,agent"),
        ((Role.CLIENT,), "polyrhythm simulate --devices FLEET", "coordinator"),
        ((Role.CLIENT,), "polyrhythm calibrate demo-unet", "agent"),
        ((Role.CLIENT,), "polyrhythm-coordinator --help", "coordinator"),
        ((Role.CLIENT,), "polyrhythm-agent --help", "agent"),
        ((Role.COORDINATOR, Role.CLIENT), "polyrhythm generate x --speeds 1", "agent"),
        ((Role.COORDINATOR, Role.CLIENT), "polyrhythm up", "agent"),
        ((Role.COORDINATOR, Role.CLIENT), "polyrhythm calibrate demo-unet", "agent"),
        ((Role.COORDINATOR, Role.CLIENT), "polyrhythm-agent --help", "agent"),
        ((Role.COORDINATOR,), "polyrhythm agents", "client"),
    ],
)
def test_what_is_not_installed_is_one_sentence_that_says_what_to_install(
    environments,  # noqa: ANN001
    tmp_path: Path,
    roles: tuple[Role, ...],
    command: str,
    lacks: str,
) -> None:
    done = run(environments(*roles), tmp_path, command.replace("FLEET", str(REPOSITORY / "examples" / "fleet.toml")))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    said = " ".join(done.stderr.split())
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert f"pip install '.[{lacks}]' in a checkout" in said
    assert "install polyrhythm" not in said.replace("'", "").replace("install polyrhythm-0", "")  # on no index


@pytest.mark.parametrize(
    ("roles", "command"),
    [
        ((Role.CLIENT,), "polyrhythm --help"),
        ((Role.COORDINATOR,), "polyrhythm-coordinator --help"),
        ((Role.COORDINATOR, Role.CLIENT), "polyrhythm simulate --devices FLEET --json"),
        ((Role.AGENT,), "polyrhythm-agent --help"),
    ],
)
def test_what_is_installed_works(environments, tmp_path: Path, roles: tuple[Role, ...], command: str) -> None:  # noqa: ANN001
    done = run(environments(*roles), tmp_path, command.replace("FLEET", str(REPOSITORY / "examples" / "fleet.toml")))
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("role", Role)
def test_the_modules_that_are_looked_for_are_those_that_the_extra_brings(role: Role) -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"][role]}
    assert {_homes()[module] for module in NEEDED[role]} == declared


@cache
def _homes() -> dict[str, str]:
    """Distributions by the names of the modules that they bring."""
    return {name: canonicalize_name(found.name) for found in distributions() for name in _modules(found)}


def _modules(package: Distribution) -> set[str]:
    return {name.removesuffix(".py") for name in top_level(package) if not name.endswith((".dist-info", ".pth"))}
