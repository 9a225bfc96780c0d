"""Runs the rules of one agent: feeds it what happens and does what it asks for.

Owns the worker process that is alive now. Decides nothing: that is ``rules``'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import assert_never

import structlog

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.session.events import AgentEvent
from polyrhythm_agent.daemon.rules.signals import (
    TICK_S,
    Effect,
    GiveUpModel,
    GiveUpStarting,
    KillWorker,
    Note,
    OversightEvent,
    SendDown,
    SendUp,
    StartWorker,
    TimePassed,
    WorkerEnded,
    WorkerSpoke,
)
from polyrhythm_agent.daemon.rules.state import DaemonState
from polyrhythm_agent.daemon.rules.transition import transition
from polyrhythm_agent.daemon.worker_process import WorkerProcess
from polyrhythm_agent.errors import WorkerStartError
from polyrhythm_agent.worker.channel import EXIT_CANNOT_LOAD

log = structlog.get_logger()


class Interpreter:
    """One agent's rules in operation. All methods on the event loop."""

    def __init__(
        self,
        *,
        state: DaemonState,
        start_worker: Callable[[], Awaitable[WorkerProcess]],
        send_up: Callable[[AgentEvent], None],
    ) -> None:
        """Prepares; nothing happens before ``run``.

        Args:
            state: to begin with.
            start_worker: executes a worker.
            send_up: tells the coordinator.
        """
        self._state = state
        self._start_worker = start_worker
        self._send_up = send_up
        self._worker: WorkerProcess | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._kill_when_started = False

    async def run(self) -> None:
        """Runs until cancelled.

        Raises:
            InvalidArgumentError: the worker cannot load its model.
            WorkerStartError: too many workers in a row were lost before they were ready.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    self.handle(TimePassed())
                    await asyncio.sleep(TICK_S)
        except ExceptionGroup as group:
            error, *others = group.exceptions
            if others:
                raise
            raise error from None  # what went wrong, not where it ran

    async def stop(self, patience_s: float) -> None:
        """Ends the worker, after ``run`` was cancelled.

        Args:
            patience_s: how long it may take to end by itself.
        """
        if self._worker is not None:
            await self._worker.stop(patience_s)

    def handle(self, event: OversightEvent) -> None:
        """Takes notice of an event and does at once what follows from it."""
        self._state, effects = transition(self._state, event, asyncio.get_running_loop().time())
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartWorker():
                self._kill_when_started = False
                if self._tasks is not None:
                    self._tasks.create_task(self._run_worker())
            case KillWorker():
                self._kill_when_started = True
                if self._worker is not None:
                    self._worker.kill()
            case GiveUpModel(reason=reason):
                raise InvalidArgumentError.of("--model", reason)
            case GiveUpStarting(reason=reason):
                raise WorkerStartError(reason)
            case SendUp(event=event):
                self._send_up(event)
            case SendDown(command=command):
                if self._worker is not None:
                    self._worker.send(command)
            case Note(text=text, alarming=alarming):
                (log.warning if alarming else log.info)(text)
            case _:
                assert_never(effect)

    async def _run_worker(self) -> None:
        try:
            worker = await self._start_worker()
        except WorkerStartError as error:
            self.handle(WorkerEnded(message=str(error)))
            return
        self._worker = worker
        log.info("worker started", pid=worker.pid)
        if self._kill_when_started:
            worker.kill()
        end = await worker.listen(
            lambda event: self.handle(WorkerSpoke(event=event)), leave_s=self._state.limits.leave_s
        )
        self._worker = None
        self.handle(WorkerEnded(message=end.message, cannot_load=end.exit_code == EXIT_CANNOT_LOAD))
