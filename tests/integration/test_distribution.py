"""How tests are run: those of a file share a process, whole fleets come last in one, quick ones go without torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FILES = (
    "unit/test_first.py",
    "unit/test_second.py",
    "unit/test_third.py",
    "e2e/test_fleet.py",
    "defects/test_planted.py",
)
TESTS_PER_FILE = 6
TEST = """
import os
import pathlib

import pytest


@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    with pathlib.Path({log!r}).open("a") as log:
        log.write("{file} " + os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def processes_options() -> list[str]:
    """Of `make test`, but for two processes, however many cores there are."""
    found = re.search(r"^PYTEST_PROCESSES := (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return [*found[1].split(), "-n", "2"]


def test_tests_of_a_file_share_a_process_and_whole_fleets_come_last_in_one(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    shutil.copy2(PROJECT / "pyproject.toml", tmp_path)
    for file in FILES:
        path = tmp_path / "tests" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST.format(count=TESTS_PER_FILE, log=str(log), file=file))
    shutil.copy2(PROJECT / "tests" / "conftest.py", tmp_path / "tests")
    command = [sys.executable, "-m", "pytest", "-q", *processes_options()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    order: dict[str, list[str]] = defaultdict(list)
    for line in log.read_text().splitlines():
        file, worker = line.split()
        order[worker].append(file)
    assert sum(len(files) for files in order.values()) == TESTS_PER_FILE * len(FILES)
    assert len(order) == 2
    workers = {file: {worker for worker, files in order.items() if file in files} for file in FILES}
    assert all(len(one) == 1 for one in workers.values()), workers
    (alone,) = workers["e2e/test_fleet.py"] | workers["defects/test_planted.py"]
    # Nothing else comes after them where they run.
    assert {file.split("/")[0] for file in order[alone][-2 * TESTS_PER_FILE :]} == {"e2e", "defects"}


def quick_suites() -> list[str]:
    """What `make quick` runs."""
    command = ["make", "-s", "--eval", "quick-suites: ; @echo $(QUICK)", "quick-suites"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()


def test_quick_suites_import_no_torch_and_others_fail_beside_them() -> None:
    suites, other = quick_suites(), "tests/unit/agent/denoiser/test_solo.py"
    assert "tests/golden" in suites
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "tests.checks.without_torch"]
    command = [sys.executable, "-m", "pytest", *options, *suites, other]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "a quick suite imports torch" in done.stdout
    assert re.findall(r"^ERROR (\S+)", done.stdout, re.MULTILINE) == [other]
