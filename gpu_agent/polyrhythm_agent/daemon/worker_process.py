"""The worker process, seen from its daemon: started by exec, spoken to over a socketpair, killed with its group.

Owns processes and descriptors only. When to start and when to kill is decided in ``rules``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from polyrhythm.codec.channel import MessageDecoder, encode_message
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.errors import WireError
from polyrhythm.process.last_words import quoted
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent
from polyrhythm_agent.daemon.worker_output import WorkerWords
from polyrhythm_agent.errors import WorkerStartError

_RECEIVE_BYTES = 256 * 1024
_DRAIN_S = 1.0
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
"""Signals of others: what the process said before has nothing to do with its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnd:
    """How a worker ended.

    Attributes:
        message: in words.
        exit_code: of the process, if it ended by itself; None if it was killed from here for what it did.
    """

    message: str
    exit_code: int | None


class WorkerProcess:
    """One worker, from its start to its end. All methods on the event loop."""

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: WorkerWords
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._words = words
        self._complaint: str | None = None

    @classmethod
    async def start(
        cls, command: Sequence[str], *, environment: Mapping[str, str], pin_core: int | None
    ) -> WorkerProcess:
        """Executes the command with ``--channel-fd N --daemon-pid N`` added, in a process group of its own.

        A group of its own: Ctrl-C in a terminal reaches the daemon alone, and one signal ends the worker with
        whatever it started.

        Args:
            command: program and arguments.
            environment: all of it.
            pin_core: core to bind it to; bound before it has started any thread, so that all threads inherit it.

        Raises:
            WorkerStartError: the operating system refuses.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            # Before the process is there: whoever cancels this coroutine leaves no process without an owner.
            reader, writer = await asyncio.open_connection(sock=ours)
            undo.callback(writer.close)
            words = WorkerWords()
            undo.callback(words.close)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    "--channel-fd",
                    str(theirs.fileno()),
                    "--daemon-pid",
                    str(os.getpid()),
                    stdin=DEVNULL,
                    stdout=words.write_fd,  # standard output belongs to whoever reads the daemon's
                    stderr=words.write_fd,
                    pass_fds=[theirs.fileno()],
                    env=dict(environment),
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkerStartError(f"{command[0]} cannot be started: {error}") from error
            undo.pop_all()
        words.listen_only()
        if pin_core is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already; that is seen elsewhere
                os.sched_setaffinity(process.pid, {pin_core})
        return cls(process, reader, writer, words)

    @property
    def pid(self) -> int:
        """Of the process, which also names its group."""
        return self._process.pid

    def send(self, command: AgentCommand) -> None:
        """Hands over a command; a worker that does not read is found out by its silence, not here."""
        if not self._writer.is_closing():
            self._writer.write(encode_message(AGENT_COMMAND, command))

    async def listen(self, on_event: Callable[[AgentEvent], None], *, leave_s: float) -> WorkerEnd:
        """Hands over events, in order, until the process is gone and nothing more will come.

        An error of ours in handling an event is raised as it is, at once: it must not pass for an end of the worker.

        Args:
            on_event: told of each.
            leave_s: how long the process may take to end once it has closed its channel; then it is killed.

        Returns:
            How it ended.
        """
        hearing = asyncio.create_task(self._hear(on_event))
        ending = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait([hearing, ending], return_when=asyncio.FIRST_COMPLETED)
            if self._complaint is None and not _has_failed(hearing):
                # A worker that closed its channel is on its way out, and says more with its own exit code.
                await asyncio.wait([ending], timeout=leave_s)
                if not ending.done():
                    self._complaint = f"it closed its channel and did not end within {leave_s:g} s"
            self.kill()
            await ending
            # What it said last is still in the socket.
            await asyncio.wait([hearing], timeout=_DRAIN_S)
            if _has_failed(hearing):
                hearing.result()
        finally:
            hearing.cancel()
            ending.cancel()
            self._writer.close()
            self._words.close()
        if self._complaint is not None:
            return WorkerEnd(message=self._complaint, exit_code=None)
        status = self._process.returncode
        return WorkerEnd(message=_describe_end(status, self._words.last()), exit_code=status)

    def kill(self) -> None:
        """Ends the process and its group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, patience_s: float) -> None:
        """Ends the process: first by closing its channel, which tells it to go, then by force."""
        self._writer.close()
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
        await self._process.wait()
        self._words.close()

    async def _hear(self, on_event: Callable[[AgentEvent], None]) -> None:
        decoder = MessageDecoder(AGENT_EVENT)
        try:
            while data := await self._reader.read(_RECEIVE_BYTES):
                for event in decoder.feed(data):
                    on_event(event)
        except WireError as error:
            self._complaint = f"it sent nonsense: {error}"
        except ConnectionError:
            pass  # it died in the middle of a message; how, its exit status tells


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _describe_end(status: int | None, words: str) -> str:
    if status is not None and -status in _FROM_OUTSIDE:
        return f"signal {signal.Signals(-status).name}"
    how = f"signal {signal.Signals(-status).name}" if status is not None and status < 0 else f"exit code {status}"
    return f"{how}{quoted(words)}"
