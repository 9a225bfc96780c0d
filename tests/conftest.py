"""What every suite shares: marks by folder, time limits by folder, one thread a process, what may run beside what.

Owns nothing that a test asserts on. Fixtures live beside the tests that use them.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before torch is imported anywhere, and inherited by every process that a test starts: suites share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The libraries make millions of objects that stay for good: the collector rests while they are imported.
gc.disable()

TESTS = Path(__file__).parent
TIMEOUT_S_BY_SUITE = {
    "unit": 20,
    "property": 120,
    "contract": 60,
    "golden": 60,
    "integration": 120,
    "e2e": 300,
    "gpu": 300,
    "defects": 300,
    "tools": 60,
}

# Whole fleets, and processes of their own, want the machine for themselves: they come last, in one process.
ALONE = ("defects", "e2e", "gpu")

# A loaded machine must not fail a property on time; the suite's own limit stands.
hypothesis.settings.register_profile("polyrhythm", deadline=None, print_blob=True)
hypothesis.settings.load_profile("polyrhythm")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests are distributed (`make test`), those of a file share a process, and so do all that want to be alone.

    Groups of pytest-xdist's `loadgroup` would say the same, but pytest 9 does not read the attribute that it writes
    them to.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "alone" if file.split("/")[1] in ALONE else file

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its suite's name, and give it the suite's time limit unless it names its own."""
    for item in items:
        suite = _suite(item)
        if suite not in TIMEOUT_S_BY_SUITE:
            raise pytest.UsageError(f"{item.path} lies in none of the suites {sorted(TIMEOUT_S_BY_SUITE)}")
        item.add_marker(suite)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S_BY_SUITE[suite]))
    items.sort(key=lambda item: _suite(item) in ALONE)


def pytest_collection_finish() -> None:
    """All is imported: the garbage collector looks at what is made from now on."""
    gc.freeze()
    gc.enable()


def _suite(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]
