"""A member of a Gloo gang as a process of its own: sends every message back until it is ended.

Run with one argument, the descriptor of a socket over which its rendezvous is answered, a JSON line an operation.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from typing import Any

import torch

from polyrhythm.messages import StoreOperation
from polyrhythm_agent.errors import EpochAbortedError
from polyrhythm_agent.exchange.rendezvous import RendezvousClient
from polyrhythm_agent.exchange.torch_distributed import form_gloo_transport

MESSAGE_SHAPE = (64, 64)


class LineRendezvous:
    """A rendezvous on the other end of a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rw")
        self._lock = threading.Lock()

    def call(self, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        with self._lock:
            self._file.write(json.dumps([operation.value, key, value.hex(), amount]) + "\n")
            self._file.flush()
            answer: Any = json.loads(self._file.readline())
        return bytes.fromhex(answer[0]), bool(answer[1])


def serve(connection: socket.socket, client: RendezvousClient) -> None:
    """Answers a ``LineRendezvous`` until it hangs up; run on a thread of the process that holds the dictionary."""
    with connection, connection.makefile("rw") as lines:
        try:
            for line in lines:
                operation, key, value, amount = json.loads(line)
                found = client.call(StoreOperation(operation), key, bytes.fromhex(value), amount)
                lines.write(json.dumps([found[0].hex(), found[1]]) + "\n")
                lines.flush()
        except (OSError, EpochAbortedError):
            return


def main() -> None:
    torch.set_num_threads(1)
    connection = socket.socket(fileno=int(sys.argv[1]))
    transport = form_gloo_transport(rank=1, size=2, rendezvous=LineRendezvous(connection), bind_address="127.0.0.1")
    while True:
        transport.send(0, transport.post_receive(0, torch.empty(MESSAGE_SHAPE)).wait())


if __name__ == "__main__":
    main()
