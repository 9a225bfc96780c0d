"""The worker's end of the channel to its daemon: commands in, events out, a heartbeat, and the end with the daemon.

Blocking, on threads of its own, since the worker's main thread computes. No torch: the daemon's tests use it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterable

import structlog

from polyrhythm.codec.channel import MessageDecoder, encode_message
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.errors import WireError
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent, Heartbeat, WorkerReady
from polyrhythm_agent.errors import ChannelClosedError
from polyrhythm_agent.worker.report_batch import ReportBatch, can_wait

log = structlog.get_logger()

HEARTBEAT_INTERVAL_S = 0.2
EXIT_CANNOT_LOAD = 3
"""Exit code of a worker that cannot load its model, however often it is started."""
_LAST_WORDS_S = 0.5
_RECEIVE_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1


class WorkerChannel:
    """One inherited stream socket. ``send`` may be called from any thread, ``listen`` once."""

    def __init__(self, fd: int, *, heartbeat_interval_s: float = HEARTBEAT_INTERVAL_S) -> None:
        """Takes over the descriptor.

        Args:
            fd: of the socket that the daemon handed over.
            heartbeat_interval_s: how often something is sent: the reports that wait, or else a heartbeat.
        """
        self._socket = socket.socket(fileno=fd)
        self._socket.settimeout(None)
        self._sending = threading.Lock()
        self._batch = ReportBatch()
        self._heartbeat_interval_s = heartbeat_interval_s
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None
        self._state: Callable[[], AgentEvent | None] = lambda: None

    def tell_with_heartbeats(self, state: Callable[[], AgentEvent | None]) -> None:
        """Has something told in place of heartbeats: what this returns, unless it is None; called on their thread."""
        self._state = state

    def send(self, event: AgentEvent) -> None:
        """Sends one event whole, and what waits before it; WorkerReady also starts the heartbeat.

        Reports of progress go with the next event or the next heartbeat.

        Raises:
            ChannelClosedError: the daemon is gone; the worker is about to end.
        """
        with self._sending:
            self._batch.add(event)
            if not can_wait(event):
                self._write(self._batch.take())
        if isinstance(event, WorkerReady) and self._beating is None:
            self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._beating.start()

    def listen(self, on_command: Callable[[AgentCommand], None], on_end: Callable[[str], None]) -> threading.Thread:
        """Starts the thread that hands over commands, in order.

        Args:
            on_command: called with each command, on that thread.
            on_end: called once, on that thread, with the reason, when the daemon closed the channel, died, or sent
                what nobody can understand, and when ``on_command`` failed. The heartbeat has ended by then, and the
                worker must end as well: one that takes no more commands must not look alive.
        """
        thread = threading.Thread(target=self._receive, args=(on_command, on_end), name="channel", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Ends the channel from this side; the daemon sees its end."""
        self._closed.set()
        with contextlib.suppress(OSError):  # the other side may have been faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self, on_command: Callable[[AgentCommand], None], on_end: Callable[[str], None]) -> None:
        decoder = MessageDecoder(AGENT_COMMAND)
        reason = "a command ended the channel's thread"
        try:
            while data := self._socket.recv(_RECEIVE_BYTES):
                for command in decoder.feed(data):
                    on_command(command)
            reason = "the daemon closed the channel"
        except WireError as error:
            reason = f"the daemon sent nonsense: {error}"
        except (OSError, ChannelClosedError) as error:
            reason = f"the channel broke: {error}"
        except Exception as error:  # noqa: BLE001 - the end of the worker: nobody else would hear of it
            reason = f"a command could not be carried out: {type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # nobody may read it
                traceback.print_exc()  # now: the process may be gone before the interpreter has said it
        finally:
            self._closed.set()
            on_end(reason)

    def _beat(self) -> None:
        sequence = 0
        while not self._closed.wait(self._heartbeat_interval_s):
            sequence += 1
            try:
                state = self._state()
                with self._sending:
                    self._write(self._batch.take() or (state or Heartbeat(sequence=sequence),))
            except ChannelClosedError:
                return

    def _write(self, events: Iterable[AgentEvent]) -> None:
        try:
            self._socket.sendall(b"".join(encode_message(AGENT_EVENT, event) for event in events))
        except OSError as error:
            raise ChannelClosedError(f"the daemon is gone: {error}") from error


def end_process(reason: str) -> None:
    """Ends this process: its daemon is gone, and nothing that it could still do matters to anybody.

    Nor does it matter whether its last words can be written: a log whose reader lives and does not read must not hold
    up the end.

    Args:
        reason: the last words.
    """
    try:
        ending = threading.Timer(_LAST_WORDS_S, os._exit, (0,))
        ending.daemon = True
        ending.start()
        log.info("worker ends", reason=reason)
    finally:
        os._exit(0)


def end_with_daemon(daemon_pid: int) -> None:
    """Asks the kernel to kill this process when its daemon dies, in case no thread of it can run any more.

    An addition: the rule is that a worker ends when its channel does. Linux only; elsewhere only the rule holds.

    Args:
        daemon_pid: the process that started this one, as it says itself: the parent may have become another by now.
    """
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        return  # no Linux: the end of the channel has to do
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != daemon_pid:
        os.kill(os.getpid(), signal.SIGKILL)  # it died before the kernel was asked
