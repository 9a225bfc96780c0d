"""Sockets are found among descriptors that other threads open and close meanwhile."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

from polyrhythm_agent.exchange.transports.gloo_sockets import connected_sockets, listening_addresses, shut_down


def test_a_listening_socket_is_found_by_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname() in listening_addresses()


def test_both_ends_of_a_connection_are_found_and_can_be_shut_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as dialled:
        accepted, _ = server.accept()
        with closing(accepted):
            accepting = connected_sockets(server.getsockname(), frozenset())
            assert [found.getpeername() for found in accepting] == [dialled.getsockname()]
            dialling = connected_sockets(("127.0.0.1", 0), frozenset([server.getsockname()]))
            assert [found.getsockname() for found in dialling] == [dialled.getsockname()]
            shut_down(accepting)
            shut_down(dialling)
            assert dialled.recv(1) == b""


def test_descriptors_that_close_during_the_look_are_passed_over() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            opened = [socket.socket() for _ in range(20)]
            for each in opened:
                each.close()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(200):
                assert server.getsockname() in listening_addresses()
                assert connected_sockets(server.getsockname(), frozenset()) == []
    finally:
        stop.set()
        churning.join()
