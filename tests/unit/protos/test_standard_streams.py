"""What is written to a standard stream that does not take it."""

from __future__ import annotations

import errno
import io
import os
import threading

from polyrhythm.process.standard_streams import ForgivingFile, reader_has_left


def test_what_a_full_disk_does_not_take_is_dropped_and_remembered() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        raw = ForgivingFile(full, absent=False)
        stream = io.TextIOWrapper(io.BufferedWriter(raw), write_through=True)
        for _ in range(3):
            stream.write("lost")
        stream.flush()
        assert raw.failure is not None
        assert raw.failure.errno == errno.ENOSPC
        assert not reader_has_left(raw.failure)
    finally:
        os.close(full)


def test_a_reader_that_is_gone_is_told_from_a_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        raw = ForgivingFile(writer, absent=False)
        assert raw.write(b"for nobody") == len(b"for nobody")
        assert raw.failure is not None
        assert reader_has_left(raw.failure)
    finally:
        os.close(writer)


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    content = bytes(range(256)) * 4096  # more than a pipe holds
    taken: list[bytes] = []

    def take() -> None:
        while part := os.read(reader, 1 << 16):
            taken.append(part)

    thread = threading.Thread(target=take)
    thread.start()
    with io.BufferedWriter(ForgivingFile(writer, absent=False)) as stream:
        stream.write(content)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(taken) == content
