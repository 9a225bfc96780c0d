"""The Python SDK and the ``polyrhythm`` command.

Owns how people and programs ask for pictures. Must not import the other roles: it starts them as processes.

Example::

    from polyrhythm_client import Client, ImageRequest

    with Client() as client:
        client.picture(ImageRequest(prompt="red apple on a blue background")).save("apple.png")

``AsyncClient`` has the same calls for programs that run an event loop. What a program needs beside the two is here as
well: requests, what is said of a job on the way, accounts of what was done, errors.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from polyrhythm import __version__
from polyrhythm.errors import (
    AgentsLostError,
    AlreadyInUseError,
    CancelledError,
    DeadlineExceededError,
    ErrorCode,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PictureFailedError,
    PolyrhythmError,
    ResourceExhaustedError,
    UnreachableError,
    WireError,
)
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.job.events import (
    AgentFailed,
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImagePreviewed,
    ImageProgressed,
    ImageReplanned,
    JobAccepted,
    JobDelayed,
    JobEvent,
    JobQueued,
    ModelPartLoaded,
    ProfilingProgressed,
    ReplanReason,
)
from polyrhythm.job.image import ImageRequest, ImageSpec, Objective, Overrides, Quality
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_client.address import DEFAULT_ADDRESS
from polyrhythm_client.forked import ForkedError
from polyrhythm_client.pictures import Picture, PillowMissingError
from polyrhythm_client.recipes.recipe import Recipe
from polyrhythm_client.recipes.recipe_file import read_recipe

if TYPE_CHECKING:
    from polyrhythm_client.async_client import AsyncClient
    from polyrhythm_client.client import Client

# Read as gRPC is imported. Without it, gRPC for Python promises nothing about forks, but its core has handlers for them
# that sometimes crash a forked process before a client in it can say that it does not outlive a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__all__ = [
    "DEFAULT_ADDRESS",
    "AgentFailed",
    "AgentState",
    "AgentUsage",
    "AgentView",
    "AgentsLostError",
    "AlreadyInUseError",
    "AsyncClient",
    "CancelledError",
    "Client",
    "DeadlineExceededError",
    "ErrorCode",
    "Explanation",
    "FieldViolation",
    "ForkedError",
    "ImageChunk",
    "ImageCompleted",
    "ImagePlanned",
    "ImagePreviewed",
    "ImageProgressed",
    "ImageReplanned",
    "ImageRequest",
    "ImageSpec",
    "InternalError",
    "InvalidArgumentError",
    "JobAccepted",
    "JobDelayed",
    "JobEvent",
    "JobQueued",
    "JobReport",
    "LongPrompt",
    "ModelPartLoaded",
    "NoAgentsError",
    "NotFoundError",
    "Objective",
    "Overrides",
    "Picture",
    "PictureFailedError",
    "PillowMissingError",
    "Plan",
    "PolyrhythmError",
    "ProfilingProgressed",
    "Quality",
    "Recipe",
    "ReplanReason",
    "ResourceExhaustedError",
    "Sampler",
    "UnreachableError",
    "WireError",
    "__version__",
    "read_recipe",
]

_CLIENTS = {"AsyncClient": "polyrhythm_client.async_client", "Client": "polyrhythm_client.client"}


def __getattr__(name: str) -> Any:
    """Imports a client when it is first asked for: the command line answers ``--help`` without gRPC."""
    if name not in _CLIENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_CLIENTS[name]), name)


def __dir__() -> list[str]:
    return __all__
