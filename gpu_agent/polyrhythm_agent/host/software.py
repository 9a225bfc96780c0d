"""Versions of the software that decides a picture's bytes, read without importing any of it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from polyrhythm.errors import InternalError
from polyrhythm.model.facts import SoftwareVersion
from polyrhythm.process.roles import Role, how_to_install

_DISTRIBUTIONS = ("polyrhythm", "torch", "diffusers", "transformers")


def software_versions() -> tuple[SoftwareVersion, ...]:
    """Name and version of each.

    Raises:
        InternalError: one is not installed.
    """
    try:
        installed = tuple(SoftwareVersion(name=name, version=version(name)) for name in _DISTRIBUTIONS)
    except PackageNotFoundError as error:
        raise InternalError(f"{error.name} is not installed: {how_to_install(Role.AGENT)}") from error
    return (SoftwareVersion(name="python", version=platform.python_version()), *installed)
