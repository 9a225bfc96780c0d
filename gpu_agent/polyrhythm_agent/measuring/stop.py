"""Ends a measurement that nobody waits for any more, within a block. Set from the channel's thread."""

from __future__ import annotations

import threading

from polyrhythm.ids import LayerId
from polyrhythm_agent.errors import MeasuringStoppedError
from polyrhythm_agent.ports.blocks import BlockObserver


class MeasuringStop:
    """Whether one measurement is to end."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """From any thread."""
        self._asked.set()

    def check(self) -> None:
        """Raises MeasuringStoppedError once it was asked for."""
        if self._asked.is_set():
            raise MeasuringStoppedError("nobody waits for the measurement any more")


class StoppableObserver:
    """A ``BlockObserver`` that lets no block of a measurement begin that is to end.

    Args:
        observer: that does the work.
        stop: looked at before every block.
    """

    def __init__(self, observer: BlockObserver, stop: MeasuringStop) -> None:
        self._observer = observer
        self._stop = stop

    def begin_block(self, block: LayerId) -> None:
        """Before a block.

        Raises:
            MeasuringStoppedError: the measurement is to end.
        """
        self._stop.check()
        self._observer.begin_block(block)

    def end_block(self, block: LayerId) -> None:
        """After a block."""
        self._observer.end_block(block)
