"""What every store of jobs promises. One suite; an adapter is added to ``STORES``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from polyrhythm.errors import AlreadyInUseError, CancelledError, InvalidArgumentError
from polyrhythm.ids import JobId
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.request_checks import resolve
from polyrhythm_coordinator.runtime.job_store import ENDED_MAX, JobStore, MemoryJobStore, StoredJob
from tests.fakes.model import FACTS

STORES: dict[str, Callable[[], JobStore]] = {"memory": MemoryJobStore}
ONE, OTHER = JobId("job-1"), JobId("job-2")
REQUEST = ImageRequest(prompt="ein Apfel \U0001f34e", count=3)


def image_of(request: ImageRequest) -> ImageSpec:
    return resolve(request, FACTS, 7)


@pytest.fixture(params=STORES.values(), ids=tuple(STORES))
def store(request: pytest.FixtureRequest) -> JobStore:
    return request.param()


async def test_what_was_added_is_found_as_it_was(store: JobStore) -> None:
    await store.add(ONE, REQUEST, image_of(REQUEST))
    assert await store.find(ONE) == StoredJob(request=REQUEST, image=image_of(REQUEST))
    assert await store.find(OTHER) is None


async def test_a_name_is_taken_once_even_after_its_job_has_ended(store: JobStore) -> None:
    await store.add(ONE, REQUEST, image_of(REQUEST))
    with pytest.raises(AlreadyInUseError):
        await store.add(ONE, REQUEST, image_of(REQUEST))
    await store.end(ONE, None)
    with pytest.raises(AlreadyInUseError):
        await store.add(ONE, REQUEST, image_of(REQUEST))


async def test_an_end_is_noted_with_its_error_and_of_this_job_only(store: JobStore) -> None:
    for job in (ONE, OTHER):
        await store.add(job, REQUEST, image_of(REQUEST))
    await store.end(ONE, CancelledError("enough"))
    ended, other = await store.find(ONE), await store.find(OTHER)
    assert ended is not None
    assert ended.ended
    assert (type(ended.error), str(ended.error)) == (CancelledError, "enough")
    assert other is not None
    assert (other.ended, other.error) == (False, None)


async def test_an_end_without_an_error_is_a_good_one(store: JobStore) -> None:
    await store.add(ONE, REQUEST, image_of(REQUEST))
    await store.end(ONE, None)
    assert await store.find(ONE) == StoredJob(request=REQUEST, image=image_of(REQUEST), ended=True)


async def test_the_first_end_counts(store: JobStore) -> None:
    await store.add(ONE, REQUEST, image_of(REQUEST))
    await store.end(ONE, None)
    await store.end(ONE, InvalidArgumentError.of("prompt", "is late"))
    stored = await store.find(ONE)
    assert stored is not None
    assert stored.error is None


async def test_the_end_of_a_job_that_is_not_known_is_none(store: JobStore) -> None:
    await store.end(ONE, None)
    assert await store.find(ONE) is None


async def test_of_jobs_that_have_ended_memory_keeps_some() -> None:
    store = MemoryJobStore()
    names = [JobId(f"job-{number}") for number in range(ENDED_MAX + 1)]
    for job in names:
        await store.add(job, REQUEST, image_of(REQUEST))
        await store.end(job, None)
    assert [await store.find(job) is None for job in names] == [True] + [False] * ENDED_MAX
