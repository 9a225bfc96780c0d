"""A peer that has frozen: its connection stands, and nothing comes over it any more."""

from __future__ import annotations

import asyncio

import grpc.aio

from polyrhythm_coordinator.server import SERVER_OPTIONS

SPEED_UP = 20
TIMES = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
NOTICED_WITHIN_S = 15.0 / SPEED_UP
SLACK_S = 3.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


async def test_a_peer_that_does_not_answer_pings_is_given_up_soon() -> None:
    options = [(name, value // SPEED_UP if name in TIMES else value) for name, value in SERVER_OPTIONS]
    server = grpc.aio.server(options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(PREFACE + SETTINGS + SETTINGS_ACK)
        await writer.drain()
        async with asyncio.timeout(NOTICED_WITHIN_S + SLACK_S):
            told = await reader.read()  # to the end, and not a ping of it answered
        assert b"ping_timeout" in told
    finally:
        writer.close()
        await server.stop(0)
