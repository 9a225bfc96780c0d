"""ImageService: pictures for clients. A call that ends early cancels its job."""

from __future__ import annotations

from typing import Any

import grpc.aio

from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.image import image_request_from_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.errors import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    PolyrhythmError,
)
from polyrhythm.job.events import ImagePlanned
from polyrhythm.job.image import ImageRequest
from polyrhythm.v1 import image_service_pb2, image_service_pb2_grpc
from polyrhythm_coordinator.grpc_api.status import abort_with
from polyrhythm_coordinator.grpc_api.streaming import write_all
from polyrhythm_coordinator.runtime.interpreter import Interpreter


class ImageServicer(image_service_pb2_grpc.ImageServiceServicer):
    """Serves ``polyrhythm.v1.ImageService``."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    async def Generate(
        self,
        request: image_service_pb2.GenerateRequest,
        context: grpc.aio.ServicerContext[image_service_pb2.GenerateRequest, image_service_pb2.GenerateResponse],
    ) -> None:
        """Makes pictures and streams what happens."""
        try:
            job, events = self._interpreter.submit(_decode(request), explain_only=False)
            try:
                await write_all(events, lambda event: context.write(JOB_EVENT.to_proto(event)))
            finally:
                self._interpreter.cancel(job, _end_of_call(context))
                events.give_up()
        except PolyrhythmError as error:
            await abort_with(context, error)

    async def ExplainPlan(
        self,
        request: image_service_pb2.ExplainPlanRequest,
        context: grpc.aio.ServicerContext[image_service_pb2.ExplainPlanRequest, image_service_pb2.ExplainPlanResponse],
    ) -> image_service_pb2.ExplainPlanResponse:
        """Says how pictures would be made."""
        try:
            job, events = self._interpreter.submit(_decode(request), explain_only=True)
            try:
                async for event in events:
                    if isinstance(event, ImagePlanned):
                        return image_service_pb2.ExplainPlanResponse(
                            explanation=EXPLANATION.to_proto(event.explanation)
                        )
            finally:
                self._interpreter.cancel(job, _end_of_call(context))
            raise InternalError(f"{job} ended without a plan")
        except PolyrhythmError as error:
            await abort_with(context, error)


def _decode(request: image_service_pb2.GenerateRequest | image_service_pb2.ExplainPlanRequest) -> ImageRequest:
    if not request.HasField("image"):
        raise InvalidArgumentError.of("image", "is missing")
    return image_request_from_proto(request.image)


def _end_of_call(context: grpc.aio.ServicerContext[Any, Any]) -> PolyrhythmError:
    """Why the job ends if it has not ended by itself."""
    left_s = context.time_remaining()
    if left_s is not None and left_s <= 0:
        return DeadlineExceededError("the client's deadline has passed")
    return CancelledError("the client ended the call")
