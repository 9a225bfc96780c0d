"""How much memory this worker may use: read from the device or the host, or limited on purpose.

Owns the translation of what PyTorch raises when memory runs out. What a plan needs is the coordinator's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import psutil
import torch

from polyrhythm.session.events import MemoryRead
from polyrhythm_agent.errors import OutOfMemoryError

_HOST_ALLOCATOR = "DefaultCPUAllocator"
"""In the words of the RuntimeError that PyTorch raises when the host has no memory left."""


class DeviceMemory(Protocol):
    """The memory that a worker computes in. ``read`` from any thread."""

    def read(self) -> MemoryRead:
        """How much there is now."""
        ...

    def check(self, need_bytes: int) -> None:
        """Called before an epoch with what it is predicted to need, weights included.

        Raises:
            OutOfMemoryError: the worker may not use so much.
        """
        ...

    def give_back(self) -> None:
        """Hands what an allocator keeps and nobody uses back to the device, after memory ran out."""
        ...


class HostMemory:
    """Memory of the host, as a CPU worker sees it.

    Args:
        weights_bytes: tells what of the model is loaded now, and so in use.
        available_bytes: asks the operating system what can be had without swapping.
    """

    def __init__(
        self,
        *,
        weights_bytes: Callable[[], int],
        available_bytes: Callable[[], int] = lambda: psutil.virtual_memory().available,
    ) -> None:
        self._weights_bytes = weights_bytes
        self._available_bytes = available_bytes

    def read(self) -> MemoryRead:
        """What is available, and the weights."""
        free_bytes = self._available_bytes()
        return MemoryRead(usable_bytes=free_bytes + self._weights_bytes(), free_bytes=free_bytes)

    def check(self, need_bytes: int) -> None:
        """Refuses nothing: a prediction is no proof, and other programs may give memory back."""

    def give_back(self) -> None:
        """Has nothing to give: the host's allocator keeps little."""


class CudaMemory:
    """Memory of a CUDA device, as the driver and PyTorch's allocator tell it.

    Args:
        device: the worker's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def read(self) -> MemoryRead:
        """What the driver has left, and what the allocator keeps for this process, in use or not."""
        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        reserved_bytes = torch.cuda.memory_reserved(self._device)
        in_use_bytes = torch.cuda.memory_allocated(self._device)
        usable_bytes = free_bytes + reserved_bytes
        return MemoryRead(usable_bytes=usable_bytes, free_bytes=usable_bytes - in_use_bytes)

    def check(self, need_bytes: int) -> None:
        """Refuses nothing: the allocator itself says when memory runs out."""

    def give_back(self) -> None:
        """Empties the allocator's cache."""
        torch.cuda.empty_cache()


class LimitedMemory:
    """Another memory of which no more than a limit is used on purpose.

    The limit is kept by refusing epochs that are predicted to need more. On CUDA the allocator keeps it as well.

    Args:
        memory: what there really is.
        limit_bytes: most that may be used, weights included.
    """

    def __init__(self, memory: DeviceMemory, limit_bytes: int) -> None:
        self._memory = memory
        self._limit_bytes = limit_bytes

    def read(self) -> MemoryRead:
        """The limit, or what there is if that is less; free is what of it is not in use."""
        real = self._memory.read()
        usable_bytes = min(self._limit_bytes, real.usable_bytes)
        in_use_bytes = real.usable_bytes - real.free_bytes
        return MemoryRead(usable_bytes=usable_bytes, free_bytes=max(0, usable_bytes - in_use_bytes))

    def check(self, need_bytes: int) -> None:
        """Keeps the limit.

        Raises:
            OutOfMemoryError: the need exceeds it.
        """
        if need_bytes > self._limit_bytes:
            raise OutOfMemoryError(
                f"the work needs {need_bytes / 2**20:.1f} MiB, the limit is {self._limit_bytes / 2**20:.1f} MiB"
            )

    def give_back(self) -> None:
        """As the memory behind it."""
        self._memory.give_back()


def memory_of(device: torch.device, *, weights_bytes: Callable[[], int], limit_bytes: int | None) -> DeviceMemory:
    """The memory of a worker's device, limited if that was asked for.

    Args:
        device: CPU or CUDA.
        weights_bytes: tells what of the model is loaded now; asked from any thread.
        limit_bytes: most that may be used, weights included; None for no limit.
    """
    memory = CudaMemory(device) if device.type == "cuda" else HostMemory(weights_bytes=weights_bytes)
    if limit_bytes is None:
        return memory
    if device.type == "cuda":
        total_bytes = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total_bytes), device)
    return LimitedMemory(memory, limit_bytes)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device, on the host, or by a limit."""
    return isinstance(error, torch.OutOfMemoryError | OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and _HOST_ALLOCATOR in str(error)
    )
