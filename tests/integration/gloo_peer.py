"""A member of a Gloo gang as a process of its own: sends every message back until it is ended.

Run with one argument, the descriptor of a socket over which its rendezvous is answered, a JSON line an operation.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress

import torch

from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import EpochAbortedError
from polyrhythm_agent.exchange.transports.rendezvous import RendezvousClient
from polyrhythm_agent.exchange.transports.torch_distributed import form_gloo_transport

MESSAGE_SHAPE = (64, 64)


class LineRendezvous:
    """A rendezvous on the other end of a socket. Threads share it: a GET that waits holds up nobody else."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile("rw")
        self._lock = threading.Lock()
        self._answers: dict[int, Future[tuple[bytes, bool]]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        answer: Future[tuple[bytes, bool]] = Future()
        with self._lock:
            number = len(self._answers)
            self._answers[number] = answer
            self._lines.write(json.dumps([number, operation.value, key, value.hex(), amount]) + "\n")
            self._lines.flush()
        return answer.result()

    def _listen(self) -> None:
        for line in self._lines:
            number, value, found = json.loads(line)
            self._answers[number].set_result((bytes.fromhex(value), bool(found)))


def serve(connection: socket.socket, client: RendezvousClient) -> None:
    """Answers a ``LineRendezvous`` until it hangs up; run on a thread of the process that holds the dictionary."""
    writing = threading.Lock()
    with connection, connection.makefile("rw") as lines, suppress(OSError):

        def answer(number: int, operation: str, key: str, value: str, amount: int) -> None:
            with suppress(OSError, ValueError, EpochAbortedError):  # it has hung up, or the test is over
                data, found = client.call(StoreOperation(operation), key, bytes.fromhex(value), amount)
                with writing:
                    lines.write(json.dumps([number, data.hex(), found]) + "\n")
                    lines.flush()

        for line in lines:
            threading.Thread(target=answer, args=json.loads(line), daemon=True).start()


def main() -> None:
    torch.set_num_threads(1)
    connection = socket.socket(fileno=int(sys.argv[1]))
    transport = form_gloo_transport(rank=1, size=2, rendezvous=LineRendezvous(connection), bind_address="127.0.0.1")
    while True:
        transport.send(0, transport.post_receive(0, torch.empty(MESSAGE_SHAPE)).wait())


if __name__ == "__main__":
    main()
