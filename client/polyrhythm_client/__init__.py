"""The Python SDK and the ``polyrhythm`` command.

Owns how people and programs ask for pictures. Must not import the other roles: it starts them as processes.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from polyrhythm import __version__

if TYPE_CHECKING:
    from polyrhythm_client.client import Client
    from polyrhythm_client.pictures import Picture
    from polyrhythm_client.sync_client import SyncClient

# Read as gRPC is imported. Without it, gRPC for Python promises nothing about forks, but its core has handlers for them
# that sometimes crash a forked process before a client in it can say that it does not outlive a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__all__ = ["Client", "Picture", "SyncClient", "__version__"]

_HOMES = {
    "Client": "polyrhythm_client.client",
    "Picture": "polyrhythm_client.pictures",
    "SyncClient": "polyrhythm_client.sync_client",
}


def __getattr__(name: str) -> Any:
    """Imports the SDK when it is first asked for: the command line answers ``--help`` without gRPC."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
