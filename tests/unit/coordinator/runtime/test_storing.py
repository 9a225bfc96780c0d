"""A job is accepted once it is stored; its end is stored behind it, and nobody waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from polyrhythm.errors import CancelledError, InternalError, PolyrhythmError, ResourceExhaustedError
from polyrhythm.ids import JobId
from polyrhythm.job.events import ImageCompleted, JobAccepted
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.runtime.job_store import MemoryJobStore
from tests.fakes.model import FACTS
from tests.unit.coordinator.runtime.test_interpreter import collect, interpreter, serve, until, worker_of

REQUEST = ImageRequest(prompt="a red apple")


class SlowStore(MemoryJobStore):
    """A store that writes when it is let, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.adds, self.ends = asyncio.Event(), asyncio.Event()
        self.asked: list[str] = []
        self.error: Exception | None = None

    async def add(self, job: JobId, request: ImageRequest, image: ImageSpec) -> None:
        self.asked.append("add")
        await self.adds.wait()
        if self.error is not None:
            raise self.error
        await super().add(job, request, image)

    async def end(self, job: JobId, error: PolyrhythmError | None) -> None:
        self.asked.append("end")
        await self.ends.wait()
        if self.error is not None:
            raise self.error
        await super().end(job, error)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest_asyncio.fixture
async def core(store: SlowStore) -> AsyncIterator[Interpreter]:
    made = interpreter(jobs=store)
    agent = asyncio.create_task(serve(made, worker_of("a")))
    await asyncio.sleep(0)
    yield made
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)


async def test_a_job_is_accepted_once_it_is_stored(core: Interpreter, store: SlowStore) -> None:
    job, log = core.submit(REQUEST, explain_only=False)
    await until(lambda: store.asked == ["add"])
    for _ in range(20):
        await asyncio.sleep(0)
    assert log.waiting_bytes == 0
    assert job in core.state.applicants
    store.adds.set()
    events, error = await collect(log)
    assert error is None
    stored = await store.find(job)
    assert stored is not None
    assert events[0] == JobAccepted(job=job, image=stored.image, fingerprint=FACTS.fingerprint)
    assert (stored.request, stored.image.seed, stored.ended) == (REQUEST, 3, False)


async def test_nobody_waits_for_the_end_of_a_job_to_be_stored(core: Interpreter, store: SlowStore) -> None:
    store.adds.set()
    job, log = core.submit(REQUEST, explain_only=False)
    events, _ = await collect(log)
    assert isinstance(events[-1], ImageCompleted)
    _, second = core.submit(REQUEST, explain_only=False)
    assert isinstance((await collect(second))[0][-1], ImageCompleted)
    store.ends.set()
    await core.settled()
    stored = await store.find(job)
    assert stored is not None
    assert (stored.ended, stored.error) == (True, None)


@pytest.mark.parametrize("failure", [ResourceExhaustedError("the disk is full"), OSError(28, "the disk is full")])
async def test_what_cannot_be_stored_is_refused_with_a_typed_error(
    core: Interpreter, store: SlowStore, failure: Exception
) -> None:
    store.error = failure
    store.adds.set()
    store.ends.set()
    _, log = core.submit(REQUEST, explain_only=False)
    with capture_logs():
        events, error = await collect(log)
        await core.settled()
    assert events == []
    assert type(error) is (ResourceExhaustedError if isinstance(failure, PolyrhythmError) else InternalError)
    assert "the disk is full" in str(error)
    assert (core.state.applicants, core.state.jobs, core.failure) == ({}, {}, None)


async def test_a_cancel_while_it_is_stored_ends_the_request_and_is_stored_behind_it(
    core: Interpreter, store: SlowStore
) -> None:
    job, log = core.submit(REQUEST, explain_only=False)
    await until(lambda: store.asked == ["add"])
    core.cancel(job, CancelledError("enough"))
    events, error = await collect(log)
    assert (events, str(error)) == ([], "enough")
    store.adds.set()
    store.ends.set()
    await core.settled()
    assert store.asked == ["add", "end"]
    stored = await store.find(job)
    assert stored is not None
    assert (stored.ended, str(stored.error)) == (True, "enough")
    assert (core.state.applicants, core.state.jobs) == ({}, {})


async def test_a_request_that_is_refused_is_not_stored(core: Interpreter, store: SlowStore) -> None:
    _, log = core.submit(ImageRequest(prompt="a red apple", steps=0), explain_only=False)
    assert (await collect(log))[1] is not None
    await core.settled()
    assert store.asked == []


async def test_a_question_about_a_plan_is_not_stored(core: Interpreter, store: SlowStore) -> None:
    _, log = core.submit(REQUEST, explain_only=True)
    assert (await collect(log))[1] is None
    await core.settled()
    assert store.asked == []


async def test_an_end_that_cannot_be_stored_is_logged_and_harms_nobody(core: Interpreter, store: SlowStore) -> None:
    store.adds.set()
    _, log = core.submit(REQUEST, explain_only=False)
    assert (await collect(log))[1] is None
    store.error = OSError(28, "the disk is full")
    store.ends.set()
    with capture_logs() as lines:
        await core.settled()
        await asyncio.sleep(0)
    assert [line["event"] for line in lines] == ["the end of a job could not be stored"]
    assert core.failure is None
