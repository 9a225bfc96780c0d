"""The worker's end of the channel, over a real socketpair."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest

from polyrhythm.codec.channel import MessageDecoder, encode_message
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.ids import EpochId, JobId
from polyrhythm.session.commands import AbortEpoch, AgentCommand, ForgetJob
from polyrhythm.session.events import AgentEvent, EpochJoined, Heartbeat, MemoryRead, StepDone, WorkerReady
from polyrhythm_agent.errors import ChannelClosedError
from polyrhythm_agent.worker.channel import WorkerChannel

EPOCH = EpochId(incarnation=1, counter=1)
WAIT_S = 10.0


class Ears:
    """Queues of what the channel calls back with."""

    def __init__(self) -> None:
        self.commands: queue.Queue[AgentCommand] = queue.Queue()
        self.ends: queue.Queue[str] = queue.Queue()


def read_events(daemon: socket.socket) -> Iterator[AgentEvent]:
    decoder = MessageDecoder(AGENT_EVENT)
    while data := daemon.recv(1 << 16):
        yield from decoder.feed(data)


@pytest.fixture
def daemon_and_channel() -> Iterator[tuple[socket.socket, WorkerChannel]]:
    daemon, worker = socket.socketpair()
    daemon.settimeout(WAIT_S)
    channel = WorkerChannel(worker.detach(), heartbeat_interval_s=0.001)
    yield daemon, channel
    channel.close()
    daemon.close()


def test_commands_arrive_in_order_however_they_are_torn(
    daemon_and_channel: tuple[socket.socket, WorkerChannel],
) -> None:
    daemon, channel = daemon_and_channel
    ears = Ears()
    channel.listen(ears.commands.put, ears.ends.put)
    sent = [AbortEpoch(epoch=EPOCH, reason="x" * 300), ForgetJob(job=JobId("j"))]
    for byte in b"".join(encode_message(AGENT_COMMAND, command) for command in sent):
        daemon.send(bytes([byte]))
    assert [ears.commands.get(timeout=WAIT_S) for _ in sent] == sent


def test_the_end_of_the_daemon_is_told_once(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    ears = Ears()
    thread = channel.listen(ears.commands.put, ears.ends.put)
    daemon.close()
    thread.join(WAIT_S)
    assert ears.ends.get_nowait() == "the daemon closed the channel"
    assert ears.ends.empty()


def test_nonsense_ends_the_channel(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    ears = Ears()
    channel.listen(ears.commands.put, ears.ends.put)
    daemon.sendall(b"\x00\x00\x00\x02\xff\xff")
    assert ears.ends.get(timeout=WAIT_S).startswith("the daemon sent nonsense")


def test_a_command_that_fails_ends_the_channel_and_the_heartbeat(
    daemon_and_channel: tuple[socket.socket, WorkerChannel], capfd: pytest.CaptureFixture[str]
) -> None:
    daemon, channel = daemon_and_channel
    ears = Ears()

    def fail(command: AgentCommand) -> None:
        raise RuntimeError("CUDA error")

    thread = channel.listen(fail, ears.ends.put)
    channel.send(WorkerReady(models=()))
    (heart,) = (thread for thread in threading.enumerate() if thread.name == "heartbeat")
    daemon.sendall(encode_message(AGENT_COMMAND, ForgetJob(job=JobId("j"))))
    assert ears.ends.get(timeout=WAIT_S) == "a command could not be carried out: RuntimeError: CUDA error"
    for ending in (thread, heart):
        ending.join(WAIT_S)
        assert not ending.is_alive()
    assert "in fail\n" in capfd.readouterr().err  # where it happened


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_even_what_is_no_error_ends_the_channel(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    ears = Ears()

    def leave(command: AgentCommand) -> None:
        raise SystemExit(1)

    thread = channel.listen(leave, ears.ends.put)
    daemon.sendall(encode_message(AGENT_COMMAND, ForgetJob(job=JobId("j"))))
    assert ears.ends.get(timeout=WAIT_S) == "a command ended the channel's thread"
    thread.join(WAIT_S)


def test_heartbeats_begin_with_worker_ready(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    channel.send(WorkerReady(models=()))
    events = read_events(daemon)
    assert next(events) == WorkerReady(models=())
    assert [next(events), next(events)] == [Heartbeat(sequence=1), Heartbeat(sequence=2)]


def test_reports_of_progress_go_with_the_next_event(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    channel.send(StepDone(epoch=EPOCH, step=1))
    channel.send(StepDone(epoch=EPOCH, step=2))
    channel.send(WorkerReady(models=()))
    events = read_events(daemon)
    assert [next(events), next(events)] == [StepDone(epoch=EPOCH, step=2), WorkerReady(models=())]


def test_reports_of_progress_take_the_place_of_a_heartbeat(
    daemon_and_channel: tuple[socket.socket, WorkerChannel],
) -> None:
    daemon, channel = daemon_and_channel
    channel.send(WorkerReady(models=()))
    events = read_events(daemon)
    assert [next(events), next(events)] == [WorkerReady(models=()), Heartbeat(sequence=1)]
    channel.send(StepDone(epoch=EPOCH, step=1))
    told, last = next(events), 1
    while isinstance(told, Heartbeat):  # those that were due before the step was done
        told, last = next(events), told.sequence
    assert [told, next(events)] == [StepDone(epoch=EPOCH, step=1), Heartbeat(sequence=last + 2)]


def test_news_of_an_idle_worker_take_the_place_of_heartbeats(
    daemon_and_channel: tuple[socket.socket, WorkerChannel],
) -> None:
    daemon, channel = daemon_and_channel
    news = iter([MemoryRead(usable_bytes=2, free_bytes=1)])
    channel.tell_with_heartbeats(lambda: next(news, None))
    channel.send(WorkerReady(models=()))
    events = read_events(daemon)
    next(events)
    assert [next(events), next(events)] == [MemoryRead(usable_bytes=2, free_bytes=1), Heartbeat(sequence=2)]


def test_threads_do_not_tear_each_others_messages(daemon_and_channel: tuple[socket.socket, WorkerChannel]) -> None:
    daemon, channel = daemon_and_channel
    count = 50

    def speak(counter: int) -> None:
        for step in range(count):
            channel.send(EpochJoined(epoch=EpochId(incarnation=1, counter=counter), encode_s=float(step), links=()))

    threads = [threading.Thread(target=speak, args=(counter,)) for counter in range(3)]
    for thread in threads:
        thread.start()
    events = read_events(daemon)
    heard = [next(events) for _ in range(3 * count)]
    for counter in range(3):
        steps = [e.encode_s for e in heard if isinstance(e, EpochJoined) and e.epoch.counter == counter]
        assert steps == list(range(count))


def test_sending_to_a_daemon_that_is_gone_is_a_typed_error(
    daemon_and_channel: tuple[socket.socket, WorkerChannel],
) -> None:
    daemon, channel = daemon_and_channel
    daemon.close()
    with pytest.raises(ChannelClosedError, match="gone"):
        channel.send(Heartbeat(sequence=1))
