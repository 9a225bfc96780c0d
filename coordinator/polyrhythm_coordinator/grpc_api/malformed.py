"""Requests that are no message of theirs: the caller's fault, and told as such.

Left alone, gRPC calls bytes that cannot be parsed an unknown error of the server.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from polyrhythm.errors import WireError
from polyrhythm_coordinator.grpc_api.status import abort_with

Context = grpc.aio.ServicerContext[Any, Any]


class MalformedRequests(grpc.aio.ServerInterceptor):
    """Ends calls whose request cannot be parsed with INVALID_ARGUMENT, whatever the service."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, with a tolerant parser and a look at what it found, or None."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        parts: dict[str, Any] = {"request_deserializer": _tolerant(handler.request_deserializer)}
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            behaviour = getattr(handler, kind)
            if behaviour is not None:
                parts[kind] = _guarded(behaviour, streamed=kind.startswith("stream"))
        return handler._replace(**parts)


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A parser that returns what is wrong instead of raising it, where gRPC would not know whose fault it is."""

    def parsed(content: bytes) -> Any:
        try:
            return parse(content)
        except DecodeError as error:
            return WireError(f"request: {error}")

    return parsed


def _guarded(behaviour: Callable[[Any, Context], Any], *, streamed: bool) -> Callable[[Any, Context], Any]:
    def taken(request: Any) -> Any:
        return _messages(request) if streamed else _message(request)

    async def answer(request: Any, context: Context) -> Any:
        try:
            return await behaviour(taken(request), context)
        except WireError as error:
            await abort_with(context, error)

    async def answers(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(taken(request), context):
                yield response
        except WireError as error:
            await abort_with(context, error)

    return answers if inspect.isasyncgenfunction(behaviour) else answer


def _message(request: Any) -> Any:
    if isinstance(request, WireError):
        raise request
    return request


async def _messages(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _message(request)
