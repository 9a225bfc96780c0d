"""A worker process without torch, for tests of its daemon: speaks the channel, computes nothing, misbehaves on demand.

    python worker_process.py [--mute] [--never-ready] ... --channel-fd N --daemon-pid N

An epoch is joined at once and then goes on until it is told to end; its steps are made by texts to count: the text
``steps 3`` reports steps 1 to 3, ``end`` ends the epoch, ``crash`` kills this process, ``freeze``
stops it, ``nonsense`` sends bytes without meaning.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading

from polyrhythm.codec.channel import encode_message
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.ids import EpochId
from polyrhythm.session.commands import AbortEpoch, AgentCommand, CancelEpoch, CountTokens, StartEpoch
from polyrhythm.session.events import (
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    StepDone,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm_agent.worker.channel import WorkerChannel, end_process, end_with_daemon


class FakeWorker:
    """What it remembers: its channel and its epoch."""

    def __init__(self, channel: WorkerChannel, *, deaf: bool) -> None:
        self._channel = channel
        self._deaf = deaf
        self._epoch: EpochId | None = None

    def take(self, command: AgentCommand) -> None:
        match command:
            case StartEpoch(epoch=epoch):
                self._epoch = epoch
                self._channel.send(EpochJoined(epoch=epoch, encode_s=0.0, links=()))
            case AbortEpoch():
                self._end(EpochOutcome.ABORTED)
            case CancelEpoch():
                self._end(EpochOutcome.CANCELLED)
            case CountTokens(request_id=request_id, texts=texts):
                for text in texts:
                    self._obey(text)
                counts = tuple(len(text) for text in texts)
                self._channel.send(TokensCounted(request_id=request_id, counts=counts))
            case _:
                pass

    def _obey(self, text: str) -> None:
        match text.split():
            case ["steps", steps] if self._epoch is not None:
                for step in range(1, int(steps) + 1):
                    self._channel.send(StepDone(epoch=self._epoch, step=step))
            case ["end"]:
                self._end(EpochOutcome.FINISHED)
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["freeze"]:
                os.kill(os.getpid(), signal.SIGSTOP)
                threading.Event().wait()  # another thread may take the signal, a moment later
            case ["nonsense"]:
                os.write(self._channel_fd, b"\x00\x00\x00\x01\xff")
            case _:
                pass

    @property
    def _channel_fd(self) -> int:
        return self._channel._socket.fileno()

    def _end(self, outcome: EpochOutcome) -> None:
        if self._epoch is None or (self._deaf and outcome is EpochOutcome.ABORTED):
            return
        epoch, self._epoch = self._epoch, None
        self._channel.send(EpochEnded(epoch=epoch, outcome=outcome, held_boundaries=(), message="", gang_intact=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--daemon-pid", type=int, required=True)
    parser.add_argument("--mute", action="store_true", help="no heartbeat")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--hang-up", action="store_true", help="closes the channel instead of getting ready")
    parser.add_argument("--exit", type=int, help="exit with this code at once")
    parser.add_argument("--say", default="", help="writes this to standard error first")
    parser.add_argument("--last-words", default="", help="says that it cannot load, and why")
    parser.add_argument("--deaf", action="store_true", help="ignores aborts")
    parser.add_argument("--stubborn", action="store_true", help="stays when the channel ends")
    parser.add_argument("--child", action="store_true", help="starts a process of its own, which stays")
    arguments = parser.parse_args()
    if arguments.say:
        sys.stderr.write(f"{arguments.say}\n")
        sys.stderr.flush()
    if arguments.last_words:
        lost = WorkerLost(reason=arguments.last_words)
        os.write(arguments.channel_fd, encode_message(AGENT_EVENT, lost))
    if arguments.exit is not None:
        sys.exit(arguments.exit)
    end_with_daemon(arguments.daemon_pid)
    if arguments.child:
        subprocess.Popen(["sleep", "600"])
    channel = WorkerChannel(arguments.channel_fd, heartbeat_interval_s=3600.0 if arguments.mute else 0.1)
    worker = FakeWorker(channel, deaf=arguments.deaf)
    on_end = (lambda reason: None) if arguments.stubborn else end_process
    channel.listen(worker.take, on_end)
    if arguments.hang_up:
        channel.close()
    elif not arguments.never_ready:
        channel.send(WorkerReady(models=()))
    threading.Event().wait()


if __name__ == "__main__":
    main()
