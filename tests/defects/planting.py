"""A copy of the project with one fault in it, and what a named test says of it.

Owns the copying, the replacing and the process that runs the test. The working tree is only read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.defects.planted import PlantedDefect

PROJECT = Path(__file__).parents[2]
SOURCE_ROOTS = ("protos", "coordinator", "gpu_agent", "client")
PACKAGES = ("polyrhythm", "polyrhythm_coordinator", "polyrhythm_agent", "polyrhythm_client")
PROCESS_TIMEOUT_S = 240.0

DETECTIONS = ("assert", "AssertionError", "Failed: DID NOT RAISE", "tests.members.StuckError", "polyrhythm")
"""How the message of a test that noticed begins: an assertion, or a typed error of the project. A NameError or a
time-out would only say that the replacement was careless."""


class StaleDefectError(ValueError):
    """A replacement no longer fits the text that it was written for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run of pytest found.

    Attributes:
        exit_code: of pytest: 0 all passed, 1 some failed, 2 and above it did not get so far.
        passed: ids of the tests that passed.
        failed: ids of the tests that failed, with the first lines of why.
        broken: ids whose fixtures or collection failed, with why.
        output: all that was printed.
    """

    exit_code: int
    passed: tuple[str, ...]
    failed: dict[str, str]
    broken: dict[str, str]
    output: str

    def noticed(self, test_id: str) -> bool:
        """Whether exactly this test failed, and by an assertion or a typed error."""
        why = self.failed.get(test_id, "")
        return self.exit_code == 1 and not self.broken and why.startswith(DETECTIONS)


def copy_project(destination: Path) -> Path:
    """Copies sources, generated stubs included, and tests; no caches, so that nothing stale can be imported."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for folder in (*SOURCE_ROOTS, "tests"):
        shutil.copytree(PROJECT / folder, destination / folder, ignore=ignored)
    shutil.copy2(PROJECT / "pyproject.toml", destination)
    return destination


def with_defect(text: str, defect: PlantedDefect) -> str:
    """A file's text with the fault in it.

    Raises:
        StaleDefectError: the original text is not there exactly once.
    """
    count = text.count(defect.original)
    if count != 1:
        raise StaleDefectError(f"{defect.name}: {defect.file} has its text {count} times, not once")
    return text.replace(defect.original, defect.planted)


def plant(copy: Path, defect: PlantedDefect) -> None:
    """Puts one fault into a copy.

    Raises:
        StaleDefectError: the original text is not there exactly once.
    """
    path = copy / defect.file
    path.write_text(with_defect(path.read_text(encoding="utf-8"), defect), encoding="utf-8")


def environment(copy: Path) -> dict[str, str]:
    """This process's environment in which a copy's packages come before the installed ones."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(copy / root) for root in SOURCE_ROOTS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def package_files(copy: Path) -> tuple[Path, ...]:
    """Where a process that runs a copy's tests finds the project's packages."""
    shown = "; ".join(f"import {package}; print({package}.__file__)" for package in PACKAGES)
    done = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        check=True,
        timeout=PROCESS_TIMEOUT_S,
    )
    return tuple(Path(line) for line in done.stdout.splitlines())


def run_tests(copy: Path, test_ids: Sequence[str]) -> Verdict:
    """Runs tests of a copy in a process of their own, up to the first failure; random ones always the same way.

    Raises:
        subprocess.TimeoutExpired: it took too long.
    """
    report = copy / "report.xml"
    options = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--junitxml={report}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *test_ids],
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PROCESS_TIMEOUT_S,
    )
    return _verdict(done.returncode, report, done.stdout)


def _verdict(exit_code: int, report: Path, output: str) -> Verdict:
    passed: list[str] = []
    failed: dict[str, str] = {}
    broken: dict[str, str] = {}
    cases = ET.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314 (written by our own pytest)
    for case in cases:
        test_id = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        failure, error = case.find("failure"), case.find("error")
        if failure is not None:
            failed[test_id] = failure.get("message", "")
        elif error is not None:
            broken[test_id] = error.get("message", "")
        elif case.find("skipped") is None:
            passed.append(test_id)
    return Verdict(exit_code=exit_code, passed=tuple(passed), failed=failed, broken=broken, output=output)
