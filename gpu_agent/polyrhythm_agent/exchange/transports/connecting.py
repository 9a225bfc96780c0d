"""Connects the members of a gang on its own thread, since nothing interrupts the dialling of a member that has died.

Owns that thread. The rendezvous brings the news of a death, so an abort of the rendezvous ends the wait.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from polyrhythm.errors import PolyrhythmError
from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import TransportError, forget_frames
from polyrhythm_agent.exchange.transports.rendezvous import RendezvousClient

Group = TypeVar("Group")


def connected(rank: int, rendezvous: RendezvousClient, connect_all: Callable[[], list[Group]]) -> list[Group]:
    """What ``connect_all`` returns or raises, or an abort before that; its thread then ends by itself.

    Args:
        rank: this member.
        rendezvous: the gang's dictionary; a key of it tells that the thread is done.
        connect_all: may block for long.

    Raises:
        EpochAbortedError: the rendezvous was aborted.
        TransportError: the members could not be connected.
    """
    key = f"connected/{rank}"
    outcomes: list[list[Group] | PolyrhythmError] = []

    def run() -> None:
        try:
            outcomes.append(connect_all())
        except PolyrhythmError as error:
            forget_frames(error)
            outcomes.append(error)
        finally:
            with contextlib.suppress(PolyrhythmError):  # aborted: nobody listens any more
                rendezvous.call(StoreOperation.SET, key, b"", 0)

    threading.Thread(target=run, name="connect", daemon=True).start()
    rendezvous.call(StoreOperation.GET, key, b"", 0)
    match outcomes:
        case [list() as groups]:
            return groups
        case [PolyrhythmError() as error]:
            raise error
        case _:
            raise TransportError("the gang could not be connected")
