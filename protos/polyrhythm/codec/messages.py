"""The session between coordinator, daemon and worker: commands down, events up."""

from __future__ import annotations

from polyrhythm.codec.commands import command_from_proto, command_to_proto
from polyrhythm.codec.events import event_from_proto, event_to_proto

__all__ = ["command_from_proto", "command_to_proto", "event_from_proto", "event_to_proto"]
