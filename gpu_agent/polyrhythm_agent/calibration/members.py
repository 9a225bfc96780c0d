"""The copies of the denoiser that a calibration measures with, as far as memory holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.facts import ModelFacts
from polyrhythm_agent.errors import OutOfMemoryError
from polyrhythm_agent.memory.device_memory import is_out_of_memory
from polyrhythm_agent.ports.denoiser import Denoiser

MIB = 2**20


def load_members(first: Denoiser, count: int, load: Callable[[], Denoiser], *, free_bytes: int) -> Sequence[Denoiser]:
    """A gang's denoisers: one that is loaded and copies of it.

    Args:
        first: that is loaded.
        count: of members.
        load: loads another copy.
        free_bytes: of the device's memory, beside the first one.

    Raises:
        InvalidArgumentError: the weights of so many do not fit.
    """
    need_bytes = (count - 1) * _denoiser_bytes(first.facts)
    if need_bytes > free_bytes:
        message = f"{count - 1} more copies of the denoiser take {need_bytes / MIB:.1f} MiB, {free_bytes / MIB:.1f} MiB"
        raise InvalidArgumentError.of("--members", f"{message} are free")
    return (first, *(load() for _ in range(count - 1)))


def _denoiser_bytes(facts: ModelFacts) -> int:
    return facts.weights_bytes if facts.memory is None else facts.memory.denoiser_bytes


@contextmanager
def memory_suffices(members: int) -> Iterator[None]:
    """Tells by the option that memory ran out inside.

    Raises:
        InvalidArgumentError: it ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OutOfMemoryError) as error:
        if not is_out_of_memory(error):
            raise
        told = next(iter(str(error).splitlines()), "")
        raise InvalidArgumentError.of(
            "--members", f"the memory does not suffice for {members} copies of the denoiser ({told})"
        ) from error
