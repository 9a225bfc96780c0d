"""A thousand jobs wait: whoever cancels one holds nobody up, and all hear of their new places soon."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import thread_time

import pytest_asyncio

from polyrhythm.errors import CancelledError
from polyrhythm.ids import JobId
from polyrhythm.job.events import JobAccepted, JobEvent, JobQueued
from polyrhythm.job.image import ImageRequest
from polyrhythm_coordinator.runtime.event_log import EventLog
from polyrhythm_coordinator.runtime.interpreter import PLACES_A_TURN, Interpreter
from polyrhythm_coordinator.scheduling.state.effects import Effect, FailJob
from tests.checks.loop_holds import HOLD_S_MAX, slowness
from tests.fakes.worker import FakeWorker
from tests.unit.coordinator.runtime.test_interpreter import interpreter, serve, until, worker_of

JOBS = 1000
CANCEL_S_MAX = 0.002
"""CPU seconds of the event loop, where ``slowness`` is 1."""
CANCELS = 10
"""The quickest counts: others use the machine too."""
ENOUGH = CancelledError("enough")


@dataclass(slots=True)
class Queue:
    """A core whose only agent works on the first of many jobs, and clients that read at once."""

    core: Interpreter
    worker: FakeWorker
    effects: list[Effect]
    heard: dict[JobId, list[JobEvent]] = field(default_factory=dict[JobId, list[JobEvent]])
    tasks: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])

    async def submit(self) -> None:
        """One more job, once it is accepted."""
        job, log = self.core.submit(ImageRequest(prompt="a red apple", seed=1, steps=12), explain_only=False)
        self.heard[job] = []
        self.tasks.append(asyncio.create_task(self._listen(job, log)))
        await until(lambda: job in self.core.state.jobs)

    async def _listen(self, job: JobId, log: EventLog) -> None:
        with suppress(CancelledError):
            async for event in log:
                self.heard[job].append(event)

    async def news(self) -> dict[JobId, list[JobEvent]]:
        """What clients have heard since this was asked last."""
        for _ in range(3):
            await asyncio.sleep(0)
        heard = {job: events.copy() for job, events in self.heard.items() if events}
        for events in self.heard.values():
            events.clear()
        return heard


@pytest_asyncio.fixture
async def queue() -> AsyncIterator[Queue]:
    effects: list[Effect] = []
    core = interpreter(observe=lambda _event, some: effects.extend(some))
    worker = worker_of("a")
    worker.pause_at = 4
    made = Queue(core=core, worker=worker, effects=effects)
    made.tasks.append(asyncio.create_task(serve(core, worker)))
    await asyncio.sleep(0)
    for _ in range(JOBS):
        await made.submit()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_a_job_that_is_accepted_hears_its_place_at_once(queue: Queue) -> None:
    heard = await queue.news()
    for place, (job, (accepted, queued, *_)) in enumerate(heard.items()):
        assert isinstance(accepted, JobAccepted)
        assert (accepted.job, queued) == (job, JobQueued(position=place))


async def test_a_cancel_is_told_to_its_own_client_only_and_holds_the_loop_for_a_moment(queue: Queue) -> None:
    assert len(queue.core.state.queue) == JOBS
    await queue.news()
    held: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for job in tuple(queue.heard)[1 : 1 + CANCELS]:
            queue.effects.clear()
            begin_s = thread_time()
            queue.core.cancel(job, ENOUGH)
            held.append(thread_time() - begin_s)
            assert queue.effects == [FailJob(job=job, error=ENOUGH)]
            assert await queue.news() == {}
    finally:
        gc.enable()
    assert min(held) < CANCEL_S_MAX * slowness()


async def test_places_are_told_to_all_that_have_another_one_a_few_at_a_time(queue: Queue) -> None:
    jobs = tuple(queue.heard)
    await queue.news()
    queue.core.cancel(jobs[500], ENOUGH)
    held, telling = list[float](), queue.core.tell_places()
    with suppress(StopIteration):
        while True:
            begin_s = thread_time()
            telling.send(None)
            held.append(thread_time() - begin_s)
    assert len(held) == (JOBS - 2) // PLACES_A_TURN
    assert max(held) < HOLD_S_MAX * slowness()
    assert await queue.news() == {job: [JobQueued(position=place)] for place, job in enumerate(jobs[501:], start=500)}
    await queue.core.tell_places()
    assert await queue.news() == {}


async def test_a_job_that_begins_while_places_are_told_keeps_the_place_of_one_that_has_begun(queue: Queue) -> None:
    jobs = tuple(queue.heard)
    telling = queue.core.tell_places()
    telling.send(None)
    queue.worker.pause_at = 8
    for job in jobs[:PLACES_A_TURN]:  # the next ones were to hear of their places in the next turn
        queue.core.cancel(job, ENOUGH)
    begun = jobs[PLACES_A_TURN]
    await until(lambda: queue.core.state.jobs[begun].started_s is not None)
    with suppress(StopIteration):
        while True:
            telling.send(None)
    assert [event.position for event in (await queue.news())[begun] if isinstance(event, JobQueued)][-1] == 0
