"""Ends a call with a typed error."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc.aio

from polyrhythm.codec.status import DETAILS_KEY, error_to_status
from polyrhythm.errors import PolyrhythmError


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], error: PolyrhythmError) -> NoReturn:
    """Ends the call; the client gets the status code, the message and the typed details."""
    code, message, details = error_to_status(error)
    await context.abort(code, message, trailing_metadata=((DETAILS_KEY, details),))
    raise AssertionError("abort returned")
