"""Which parts of the model are in memory: brought in when work needs them, let go where work needs their room.

Owns the rule for letting go: a part stays as long as it fits beside what the plan in force needs at most.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import structlog

from polyrhythm.model.facts import ModelPart
from polyrhythm_agent.memory.device_memory import DeviceMemory
from polyrhythm_agent.ports.denoiser import PartOnDemand

log = structlog.get_logger()

RELEASED_FIRST = (ModelPart.TEXT_ENCODER, ModelPart.AUTOENCODER)
"""In the order in which a picture is done with them."""


class PartsInMemory:
    """The parts of one model on one worker. ``held_bytes`` from any thread, the rest on the compute thread.

    Args:
        parts: all that are loaded on demand.
        memory: what they are loaded into.
    """

    def __init__(self, parts: Sequence[PartOnDemand], memory: DeviceMemory) -> None:
        self._parts = tuple(parts)
        self._memory = memory

    @property
    def held_bytes(self) -> int:
        """Of the weights of these parts that are in memory now."""
        return held_bytes(self._parts)

    def fetch(self, part: ModelPart) -> float:
        """Brings a part in.

        Returns:
            Seconds that it took; 0 where it was there, or where the model has no such part.

        Raises:
            ModelFolderError: its files do not fit its config, or have gone.
        """
        absent = [each for each in self._parts if each.part is part and not each.held]
        if not absent:
            return 0.0
        begin_s = time.perf_counter()
        for each in absent:
            each.load()
        loading_s = time.perf_counter() - begin_s
        size_bytes = sum(each.size_bytes for each in absent)
        log.info("part loaded", part=str(part), seconds=round(loading_s, 3), mib=round(size_bytes / 2**20, 1))
        return loading_s

    def fits_beside(self, part: ModelPart, need_bytes: int) -> bool:
        """Whether a part could be held together with what work needs at most."""
        return need_bytes + self._size_bytes(part) <= self._memory.read().usable_bytes

    def make_room(self, need_bytes: int, *, keep: Collection[ModelPart] = ()) -> None:
        """Lets parts go that do not fit beside what is needed.

        Args:
            need_bytes: of the work that comes, the parts that it uses included.
            keep: parts that it uses.
        """
        for part in RELEASED_FIRST:
            idle = [each for each in self._parts if each.held and each.part not in keep]
            if not idle or need_bytes + held_bytes(idle) <= self._memory.read().usable_bytes:
                return
            if any(each.part is part for each in idle):
                self.release(part)

    def release(self, part: ModelPart) -> None:
        """Lets a part go, whoever may want it later."""
        for each in self._parts:
            if each.part is part:
                each.release()
        self._memory.give_back()
        log.info("part released", part=str(part))

    def has_room(self, need_bytes: int) -> bool:
        """Whether so much may be used in all."""
        return need_bytes <= self._memory.read().usable_bytes

    def _size_bytes(self, part: ModelPart) -> int:
        return sum(each.size_bytes for each in self._parts if each.part is part)


def held_bytes(parts: Sequence[PartOnDemand]) -> int:
    """Weights of the parts that are in memory."""
    return sum(each.size_bytes for each in parts if each.held)
