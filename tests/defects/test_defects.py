"""The tests can fail: each known fault, planted into a copy of the project, turns a named test red.

Each fault gets a copy and a process of its own, two at a time. On the copy without a fault all named tests pass.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.defects.catalogue import DEFECTS
from tests.defects.planted import PlantedDefect
from tests.defects.planting import PROJECT, Verdict, copy_project, package_files, plant, run_tests, with_defect

PROCESSES = 2
NAMED_TESTS = tuple(dict.fromkeys(defect.test_id for defect in DEFECTS))
CONTROL = "control"


def planted_run(root: Path, defect: PlantedDefect) -> Verdict:
    copy = copy_project(root / defect.name.replace(" ", "-"))
    plant(copy, defect)
    verdict = run_tests(copy, [defect.test_id])
    shutil.rmtree(copy)  # pytest keeps the folders of its last sessions, and forty copies are many
    return verdict


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Verdict]]]:
    """What was selected of this file, under way: by a defect's name, the control run by its own."""
    root = tmp_path_factory.mktemp("planted")
    names = {item.name for item in request.session.items if item.path == request.path}
    with ThreadPoolExecutor(max_workers=PROCESSES) as pool:
        runs: dict[str, Future[Verdict]] = {}
        if test_without_a_defect_the_named_tests_pass.__name__ in names:
            runs[CONTROL] = pool.submit(lambda: run_tests(copy_project(root / CONTROL), NAMED_TESTS))
        for defect in DEFECTS:
            if f"{test_a_planted_defect_is_noticed.__name__}[{defect.name}]" in names:
                runs[defect.name] = pool.submit(planted_run, root, defect)
        yield runs
        pool.shutdown(cancel_futures=True)


def test_the_catalogue_fits_the_sources() -> None:
    """Every replacement finds its text exactly once and leaves Python behind; no two defects have one name."""
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    for defect in DEFECTS:
        text = (PROJECT / defect.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(with_defect(text, defect))) != ast.dump(ast.parse(text)), defect.name


def test_a_copy_comes_before_the_installed_packages(tmp_path: Path) -> None:
    copy = copy_project(tmp_path / "copy")
    files = package_files(copy)
    assert len(files) == 4
    assert all(file.is_relative_to(copy) for file in files)


def test_without_a_defect_the_named_tests_pass(verdicts: Mapping[str, Future[Verdict]]) -> None:
    verdict = verdicts[CONTROL].result()
    assert verdict.exit_code == 0, verdict.output
    assert sorted(verdict.passed) == sorted(NAMED_TESTS)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_noticed(verdicts: Mapping[str, Future[Verdict]], defect: PlantedDefect) -> None:
    verdict = verdicts[defect.name].result()
    assert verdict.noticed(defect.test_id), f"{defect.test_id} did not notice: {defect.why}\n{verdict.output}"
