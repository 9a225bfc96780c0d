"""FleetService: what is connected, and what is taken out of service."""

from __future__ import annotations

import asyncio

import grpc.aio

from polyrhythm.codec.bounds import name
from polyrhythm.codec.fields import at
from polyrhythm.codec.fleet import AGENT
from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc
from polyrhythm_coordinator.grpc_api.status import abort_with
from polyrhythm_coordinator.runtime.interpreter import Interpreter


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Serves ``polyrhythm.v1.FleetService``."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    async def ListAgents(
        self,
        request: fleet_pb2.ListAgentsRequest,  # noqa: ARG002 - it has no fields
        context: grpc.aio.ServicerContext[fleet_pb2.ListAgentsRequest, fleet_pb2.ListAgentsResponse],  # noqa: ARG002
    ) -> fleet_pb2.ListAgentsResponse:
        """All agents that are connected now. What each may say of itself is bounded so that one message holds all."""
        state, response = self._interpreter.state, fleet_pb2.ListAgentsResponse()
        for agent in sorted(state.agents):
            response.agents.append(AGENT.to_proto(state.view(agent)))
            await asyncio.sleep(0)  # other calls and streams have their turn between any two agents
        return response

    async def DrainAgent(
        self,
        request: fleet_pb2.DrainAgentRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.DrainAgentRequest, fleet_pb2.DrainAgentResponse],
    ) -> fleet_pb2.DrainAgentResponse:
        """Takes an agent out of service, or puts it back."""
        try:
            with at("agent"):
                agent = AgentId(name(request.agent))
            view = self._interpreter.drain(agent, undo=request.undo)
            return fleet_pb2.DrainAgentResponse(agent=None if view is None else AGENT.to_proto(view))
        except PolyrhythmError as error:
            await abort_with(context, error)
