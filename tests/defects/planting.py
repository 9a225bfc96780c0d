"""A copy of the project with one fault in it, and what a named test says of it.

Owns the copying, the replacing and the reading of the verdict; ``forks`` runs the test. The working tree is only read.
"""

from __future__ import annotations

import compileall
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

from tests.defects.forks import Forks
from tests.defects.planted import PlantedDefect

PROJECT = Path(__file__).parents[2]
SOURCE_ROOTS = ("protos", "coordinator", "gpu_agent", "client")
PROCESS_TIMEOUT_S = 240.0

DETECTIONS = ("assert", "AssertionError", "Failed: DID NOT RAISE", "tests.worlds.members.StuckError", "polyrhythm")
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
        foreign: files of the project that did not come from the copy; whatever was found, it says nothing of the copy.
        output: all that was printed.
    """

    exit_code: int
    passed: tuple[str, ...]
    failed: dict[str, str]
    broken: dict[str, str]
    foreign: tuple[Path, ...]
    output: str

    def noticed(self, test_id: str) -> bool:
        """Whether exactly this test failed, and by an assertion or a typed error."""
        why = self.failed.get(test_id, "")
        return self.exit_code == 1 and not self.broken and not self.foreign and why.startswith(DETECTIONS)


def copy_project(destination: Path) -> Path:
    """Copies sources, generated stubs included, and tests; no caches, so that nothing stale can be imported.

    Compiles what it copied, for the copies that share its files.
    """
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for folder in (*SOURCE_ROOTS, "tests"):
        shutil.copytree(PROJECT / folder, destination / folder, ignore=ignored)
    shutil.copy2(PROJECT / "pyproject.toml", destination)
    compileall.compile_dir(destination, quiet=1)
    return destination


def share_copy(copy: Path, destination: Path) -> Path:
    """A second copy whose files are those of the first, until one is replaced."""
    return shutil.copytree(copy, destination, copy_function=os.link)


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
    """Puts one fault into a copy, and into no other that shares its files.

    Raises:
        StaleDefectError: the original text is not there exactly once.
    """
    path = copy / defect.file
    text = with_defect(path.read_text(encoding="utf-8"), defect)
    path.unlink()
    path.write_text(text, encoding="utf-8")
    Path(cache_from_source(str(path))).unlink()


def forks_environment() -> dict[str, str]:
    """This process's environment, without what points at the project or at the pytest that runs here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_") and key != "PYTHONPATH"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return kept | threads | {"PYTHONDONTWRITEBYTECODE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run_tests(forks: Forks, copy: Path, test_ids: Sequence[str]) -> Verdict:
    """Runs tests of a copy in a process of their own, up to the first failure; random ones always the same way.

    Raises:
        TimeoutError: it took too long.
        ForkDiedError: it ended without a verdict.
    """
    report, output = copy / "report.xml", copy / "output.txt"
    options = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0")
    own = {
        "PYTHONPATH": os.pathsep.join(str(copy / root) for root in SOURCE_ROOTS),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }
    done = forks.pytest(
        copy,
        (*options, f"--basetemp={copy / 'tmp'}", f"--junitxml={report}", *test_ids),
        environment=own,
        output=output,
        timeout_s=PROCESS_TIMEOUT_S,
    )
    foreign = tuple(file for file in done.files if not file.is_relative_to(copy))
    return _verdict(done.exit_code, report, output.read_text(encoding="utf-8", errors="replace"), foreign)


def _verdict(exit_code: int, report: Path, output: str, foreign: tuple[Path, ...]) -> Verdict:
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
    return Verdict(
        exit_code=exit_code, passed=tuple(passed), failed=failed, broken=broken, foreign=foreign, output=output
    )
