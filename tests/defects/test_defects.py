"""The tests can fail: each known fault, planted into a copy of the project, turns a named test red.

Each fault gets a copy and a process of its own, forked from one that has imported the slow libraries, two at a time. On
the copy without a fault all named tests pass.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.defects.catalogue import DEFECTS
from tests.defects.forks import ForkDiedError, Forked, Forks
from tests.defects.planted import PlantedDefect
from tests.defects.planting import (
    PROJECT,
    Verdict,
    copy_project,
    forks_environment,
    plant,
    run_tests,
    share_copy,
    with_defect,
)

PROCESSES = 2
NAMED_TESTS = tuple(dict.fromkeys(defect.test_id for defect in DEFECTS))
CONTROL = "control"
HANG_S = 30.0
"""Long enough for a run to begin; a hanging one takes no core meanwhile, so it hangs beside all others."""


def planted_run(forks: Forks, clean: Path, defect: PlantedDefect) -> Verdict:
    copy = share_copy(clean, clean.with_name(defect.name.replace(" ", "-")))
    plant(copy, defect)
    verdict = run_tests(forks, copy, [defect.test_id])
    shutil.rmtree(copy)  # pytest keeps the folders of its last sessions, and forty copies are many
    return verdict


def control_run(forks: Forks, clean: Path) -> Verdict:
    return run_tests(forks, share_copy(clean, clean.with_name(CONTROL)), NAMED_TESTS)


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks"), forks_environment()) as started:
        yield started


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[tuple[Path, Future[Forked]]]:
    """A run under way that hangs with a child, whose process id it writes into its folder."""
    folder = tmp_path_factory.mktemp("hanging")
    text = "import pathlib, subprocess\n\ndef test_hangs():\n    child = subprocess.Popen(['sleep', '600'])\n"
    text += "    pathlib.Path('child').write_text(str(child.pid))\n    child.wait()\n"
    (folder / "test_hangs.py").write_text(text)
    run = partial(forks.pytest, environment={"PYTHONPATH": ""}, output=folder / "output.txt", timeout_s=HANG_S)
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield folder, pool.submit(run, folder, ["-q"])


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> Iterator[Mapping[str, Future[Verdict]]]:
    """What was selected of this file, under way: by a defect's name, the control run by its own."""
    clean = copy_project(tmp_path_factory.mktemp("planted") / "clean")
    names = {item.name for item in request.session.items if item.path == request.path}
    with ThreadPoolExecutor(max_workers=PROCESSES) as pool:
        runs: dict[str, Future[Verdict]] = {}
        if test_without_a_defect_the_named_tests_pass.__name__ in names:
            runs[CONTROL] = pool.submit(control_run, forks, clean)
        for defect in DEFECTS:
            if f"{test_a_planted_defect_is_noticed.__name__}[{defect.name}]" in names:
                runs[defect.name] = pool.submit(planted_run, forks, clean, defect)
        yield runs
        pool.shutdown(cancel_futures=True)


def test_the_catalogue_fits_the_sources() -> None:
    """Every replacement finds its text exactly once and leaves Python behind; no two defects have one name."""
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    for defect in DEFECTS:
        text = (PROJECT / defect.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(with_defect(text, defect))) != ast.dump(ast.parse(text)), defect.name


def test_a_run_without_an_answer_is_an_error(tmp_path: Path, forks: Forks) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "test_ends.py").write_text("import os\n\ndef test_ends():\n    os._exit(0)\n")
    with pytest.raises(ForkDiedError):
        run_tests(forks, copy, ["test_ends.py"])


@pytest.mark.usefixtures("hanging")  # under way from here on, looked at at the end
def test_without_a_defect_the_named_tests_pass(verdicts: Mapping[str, Future[Verdict]]) -> None:
    verdict = verdicts[CONTROL].result()
    assert verdict.exit_code == 0, verdict.output
    assert verdict.foreign == ()
    assert sorted(verdict.passed) == sorted(NAMED_TESTS)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_noticed(verdicts: Mapping[str, Future[Verdict]], defect: PlantedDefect) -> None:
    verdict = verdicts[defect.name].result()
    assert verdict.noticed(defect.test_id), f"{defect.test_id} did not notice: {defect.why}\n{verdict.output}"


def test_a_run_that_hangs_is_killed_with_its_children(hanging: tuple[Path, Future[Forked]]) -> None:
    folder, run = hanging
    with pytest.raises(TimeoutError):
        run.result()
    child = int((folder / "child").read_text())
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=10)
