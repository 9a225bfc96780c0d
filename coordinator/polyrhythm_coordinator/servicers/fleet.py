"""FleetService: what is connected."""

from __future__ import annotations

import grpc.aio

from polyrhythm.codec.fleet import agent_view_to_proto
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc
from polyrhythm_coordinator.interpreter import Interpreter


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Serves ``polyrhythm.v1.FleetService``."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    async def ListAgents(
        self,
        request: fleet_pb2.ListAgentsRequest,  # noqa: ARG002 - it has no fields
        context: grpc.aio.ServicerContext[fleet_pb2.ListAgentsRequest, fleet_pb2.ListAgentsResponse],  # noqa: ARG002
    ) -> fleet_pb2.ListAgentsResponse:
        """All connected agents."""
        return fleet_pb2.ListAgentsResponse(agents=map(agent_view_to_proto, self._interpreter.state.views()))
