"""How much may wait for a client that does not read, and for an agent. Owns these bounds and how things are weighed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from polyrhythm.job.events import ImageChunk, JobEvent, PartLoaded, Previewed, Progressed
from polyrhythm.job.picture_file import file_bytes_max
from polyrhythm.session.messages import AgentCommand
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_coordinator.runtime.outbox import Room

CLIENT_BYTES_LEAST = 32 << 20
"""Of pictures of a client that wait when the next is done: a slow network may lag by some, and nobody by all, ..."""
PICTURES_MAX = 8
"""... large pictures are fewer, but several devices may end theirs before the first is through, ..."""
CLIENT_BYTES_MAX = 256 << 20
"""... and so much is enough for anybody."""
AGENT_BYTES_MAX = 4 << 20
"""Commands are read at once; an agent that leaves so many of them waiting reads none."""
MESSAGE_BYTES = 1 << 10
"""What a message counts that is not weighed: most are much smaller."""


def _event_bytes(event: JobEvent) -> int:
    match event:
        case ImageChunk(data=data):
            return MESSAGE_BYTES + len(data)
        case Previewed(png=png):
            return MESSAGE_BYTES + len(png)
        case _:
            return MESSAGE_BYTES


def _begins_picture(event: JobEvent) -> bool:
    """A picture is told at once and is bounded by its size, so whoever keeps up gets any picture."""
    return isinstance(event, ImageChunk) and event.offset == 0


def _news_of(event: JobEvent) -> Hashable | None:
    match event:
        case Previewed(image_index=index) | Progressed(image_index=index):
            return type(event), index
        case PartLoaded(image_index=index, agent=agent, part=part):  # an agent may say so without end
            return type(event), index, agent, part
        case _:
            return None


def _command_bytes(command: AgentCommand) -> int:
    return MESSAGE_BYTES + (len(command.value) if isinstance(command, StoreReply) else 0)


CLIENT_ROOM: Room[JobEvent] = Room(
    bytes_max=CLIENT_BYTES_LEAST, size_bytes=_event_bytes, begins=_begins_picture, news_of=_news_of
)
"""Of a client of whom it is not known yet what it asks for."""
AGENT_ROOM: Room[AgentCommand] = Room(
    bytes_max=AGENT_BYTES_MAX, size_bytes=_command_bytes, begins=lambda _: True, news_of=lambda _: None
)


def client_room(width_px: int, height_px: int, count: int) -> Room[JobEvent]:
    """The room of a client that waits for pictures: for some of them, within bounds.

    Args:
        width_px: of each.
        height_px: of each.
        count: how many.
    """
    some_bytes = min(count, PICTURES_MAX) * file_bytes_max(width_px, height_px)
    return replace(CLIENT_ROOM, bytes_max=min(max(CLIENT_BYTES_LEAST, some_bytes), CLIENT_BYTES_MAX))
