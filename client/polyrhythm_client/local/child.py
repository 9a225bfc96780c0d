"""One child process: started in a session of its own, its output read, its end noticed, nothing left behind.

Knows neither coordinators nor agents.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from polyrhythm.errors import ErrorCode, PolyrhythmError
from polyrhythm.process.last_words import LastWords, quoted

READ_BYTES = 4096
EXIT_BAD_INPUT = 2
GRACE_S = 3.0
"""That a child has to leave in."""


class ChildEndedError(PolyrhythmError):
    """A child process ended without being asked to.

    Attributes:
        exit_code: of the child; negative for a signal.
        last_words: the end of what it wrote to standard error; the message shows the last lines of it.
    """

    def __init__(self, name: str, exit_code: int, last_words: str) -> None:
        self.exit_code = exit_code
        self.last_words = last_words
        # What a child refuses came from our own command line, so it is the user's input here, too.
        if exit_code == EXIT_BAD_INPUT:
            self.code = ErrorCode.INVALID_ARGUMENT
        how = (
            f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"
        )
        super().__init__(f"{name} {how}{quoted(last_words) or ' and said nothing'}")


class Child:
    """A running child process.

    Args:
        name: what a person calls it.
        process: started with pipes for its output.
        keep: takes what it writes to standard error, and an empty text at its end.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, keep: Callable[[bytes], None]) -> None:
        self.name = name
        self._process = process
        self._stdout_lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._last_words = LastWords()
        self._keep = keep
        self._readers = (
            asyncio.create_task(self._read_stdout(), name=f"stdout of {name}"),
            asyncio.create_task(self._read_stderr(), name=f"stderr of {name}"),
        )

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        lifeline_fd: int,
        keep: Callable[[bytes], None] = lambda _: None,
    ) -> Child:
        """Starts a program by exec, in a session of its own: Ctrl-C in the terminal is ours to pass on.

        Args:
            name: what a person calls it.
            command: program and arguments.
            environment: all of it.
            lifeline_fd: that it inherits and watches.
            keep: takes what it writes to standard error, and an empty text at its end.

        Raises:
            OSError: the program cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            pass_fds=(lifeline_fd,),
            start_new_session=True,
        )
        return cls(name, process, keep)

    @property
    def pid(self) -> int:
        """Of the process, and of the session that it leads."""
        return self._process.pid

    async def next_line(self) -> str:
        """The next line on its standard output.

        Raises:
            ChildEndedError: it ended without one.
        """
        line = await self._stdout_lines.get()
        if line is None:
            raise await self.ended()
        return line

    async def ended(self) -> ChildEndedError:
        """Waits for its end and returns what to say about it."""
        exit_code = await self._process.wait()
        # A grandchild may hold the pipes open longer than the child lives: what was said by now is enough.
        await asyncio.wait(self._readers, timeout=0.5)
        return ChildEndedError(self.name, exit_code, self._last_words.text)

    async def stop(self, grace_s: float) -> None:
        """Ends the process and whatever it started; returns when they are gone."""
        self._signal_leader(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            pass
        finally:
            # Also on cancellation: better abrupt than orphaned.
            self._kill_session()
        await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _signal_leader(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    # Both pipes are read to their end, whatever happens: a child must never block on output that is not read.

    async def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        pending = b""
        while data := await self._process.stdout.read(READ_BYTES):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._stdout_lines.put_nowait(line.decode(errors="replace"))
        self._stdout_lines.put_nowait(None)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(READ_BYTES):
            self._last_words.add(data)
            self._keep(data)
        self._keep(b"")


async def unless_ended(children: Sequence[Child], work: Coroutine[Any, Any, None]) -> None:
    """Runs some work; gives it up as soon as a child ends.

    Raises:
        ChildEndedError: one did.
    """
    task = asyncio.create_task(work)
    ends = [asyncio.create_task(child.ended()) for child in children]
    try:
        await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            if end.done():
                raise end.result()
        await task
    finally:
        for each in (task, *ends):
            each.cancel()
        await asyncio.gather(task, *ends, return_exceptions=True)
