"""What this machine offers to compute on. The only module that imports NVML's bindings; reads, never sets.

No torch: the daemon asks the driver, so that a broken CUDA context in the worker cannot harm it.
"""

from __future__ import annotations

import platform
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import psutil
import pynvml

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceFacts, DeviceKind
from polyrhythm_agent.errors import DeviceError

_HOST_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
_CPU_INFO_FILE = Path("/proc/cpuinfo")


class Nvml(Protocol):
    """What is asked of NVML."""

    def cuda_devices(self) -> tuple[DeviceFacts, ...]:
        """All CUDA devices of the machine, in PCI bus order.

        Raises:
            DeviceError: the driver is missing or does not answer.
        """
        ...


class PynvmlNvml:
    """NVML by its official bindings; the library is opened and closed around each question."""

    def cuda_devices(self) -> tuple[DeviceFacts, ...]:
        """All CUDA devices of the machine, in PCI bus order."""
        with _nvml_session():
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            handles.sort(key=lambda handle: _text(pynvml.nvmlDeviceGetPciInfo(handle).busId))
            return tuple(_facts(handle, driver) for handle in handles)


@contextmanager
def _nvml_session() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML is not here: {error}; is an NVIDIA driver installed?") from error
    try:
        yield
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML does not answer: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def _facts(handle: object, driver: str) -> DeviceFacts:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return DeviceFacts(
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        kind=DeviceKind.CUDA,
        memory_total_bytes=int(memory.total),
        memory_free_bytes=int(memory.free),
        driver=driver,
    )


def _text(value: str | bytes) -> str:
    """Older bindings answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value


def visible_devices(devices: tuple[DeviceFacts, ...], cuda_visible_devices: str | None) -> tuple[DeviceFacts, ...]:
    """The devices that CUDA would count, given the environment variable CUDA_VISIBLE_DEVICES.

    Like CUDA, stops at the first entry that names no device.

    Args:
        devices: all of the machine, in PCI bus order.
        cuda_visible_devices: its value; None where it is not set.

    Raises:
        DeviceError: it names a MIG instance, which this agent cannot serve.
    """
    if cuda_visible_devices is None:
        return devices
    chosen: list[DeviceFacts] = []
    for entry in cuda_visible_devices.split(","):
        found = _visible_device(devices, entry.strip())
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


def _visible_device(devices: tuple[DeviceFacts, ...], entry: str) -> DeviceFacts | None:
    if entry.startswith("MIG-"):
        raise DeviceError(f"CUDA_VISIBLE_DEVICES names the MIG instance {entry}; whole devices are served only")
    if entry.isdecimal():
        index = int(entry)
        return devices[index] if index < len(devices) else None
    return next((device for device in devices if entry and device.uuid.startswith(entry)), None)


def cuda_device(devices: tuple[DeviceFacts, ...], name: str) -> DeviceFacts:
    """One visible device by ``cuda:N``.

    Raises:
        InvalidArgumentError: there is none of that number.
    """
    index = int(name.removeprefix("cuda:"))
    if index >= len(devices):
        listed = ", ".join(f"cuda:{i} {device.name}" for i, device in enumerate(devices)) or "none"
        raise InvalidArgumentError.of("--device", f"there is no {name}; visible CUDA devices: {listed}")
    return devices[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a CPU agent says of its host.

    Attributes:
        host_id: of the machine or container; its name where it has no machine id.
        cpu_name: model of the processor.
        memory_total_bytes: of the host, or of this process's control group where that is less.
        memory_free_bytes: that can be had without swapping.
    """

    host_id: str
    cpu_name: str
    memory_total_bytes: int
    memory_free_bytes: int


def read_host() -> Host:
    """Asks the operating system."""
    memory = psutil.virtual_memory()
    total_bytes = min(memory.total, _cgroup_limit_bytes(_CGROUP_LIMIT_FILE) or memory.total)
    return Host(
        host_id=_host_id(_HOST_ID_FILES),
        cpu_name=_cpu_name(_CPU_INFO_FILE),
        memory_total_bytes=total_bytes,
        memory_free_bytes=min(memory.available, total_bytes),
    )


def running_kernel(boot_id_file: Path = _BOOT_ID_FILE) -> str:
    """Identifies it, and with it the processors that its agents share; empty where it has no such mark.

    All containers of a machine have the same one, whatever they are called. Only a hash of it is told.
    """
    try:
        boot_id = boot_id_file.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # no Linux
    return sha256(f"polyrhythm kernel {boot_id}".encode()).hexdigest()[:16] if boot_id else ""


def cpu_device(host: Host, agent: AgentId) -> DeviceFacts:
    """The CPU of a host as a device; several agents of one host are told apart by their names."""
    return DeviceFacts(
        uuid=f"CPU-{uuid.uuid5(uuid.NAMESPACE_OID, f'{host.host_id}/{agent}')}",
        name=host.cpu_name,
        kind=DeviceKind.CPU,
        memory_total_bytes=host.memory_total_bytes,
        memory_free_bytes=host.memory_free_bytes,
    )


def _host_id(files: tuple[Path, ...]) -> str:
    for file in files:
        if file.is_file() and (text := file.read_text(encoding="ascii", errors="replace").strip()):
            return text
    return platform.node()


def _cgroup_limit_bytes(file: Path) -> int | None:
    """Memory limit of the control group; None without one."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None  # no control group of version 2: no limit that we know of
    return int(text) if text.isdecimal() else None


def _cpu_name(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""  # no Linux
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
