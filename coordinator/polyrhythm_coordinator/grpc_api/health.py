"""grpc.health.v1: live is not ready. One name a service, and the empty name for the process itself."""

from __future__ import annotations

import asyncio

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer  # its public name, health.aio, is invisible to type checkers

from polyrhythm_coordinator.scheduling.state.effects import Effect, ReadinessChanged

LIVENESS = ""


class FleetHealth:
    """Tells whether the process lives, and whether pictures can be asked for.

    Args:
        live: services that serve as long as the process lives.
        ready: the service that serves only while an agent is ready.
    """

    def __init__(self, *, live: tuple[str, ...], ready: str) -> None:
        self.servicer = HealthServicer()
        self._live = live
        self._ready = ready
        self._changes: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Sets the state of a coordinator without agents."""
        for name in (LIVENESS, *self._live):
            await self._set(name, serving=True)
        await self._set(self._ready, serving=False)

    def take(self, effects: tuple[Effect, ...]) -> None:
        """Follows the fleet's readiness."""
        for effect in effects:
            if isinstance(effect, ReadinessChanged):
                change = asyncio.ensure_future(self._set(self._ready, serving=effect.ready))
                self._changes.add(change)
                change.add_done_callback(self._changes.discard)

    async def _set(self, name: str, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.servicer.set(name, status)
