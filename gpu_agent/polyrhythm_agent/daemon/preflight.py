"""Turns settings into facts of this machine before anything is started: model, device, threads, address.

What is wrong here is the user's input, so every error names the option. Starts nothing and changes nothing, but for a
model of the hub, which is fetched.
"""

from __future__ import annotations

import ipaddress
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceFacts
from polyrhythm_agent.errors import DeviceError
from polyrhythm_agent.host.device import Nvml, cpu_device, cuda_device, read_host, running_kernel, visible_devices
from polyrhythm_agent.model_files.model_folder import cache_folder, find_model
from polyrhythm_agent.settings import AgentSettings
from polyrhythm_agent.worker.settings import WorkerSettings

_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - refused, not bound to
_SPINS = 2000
"""Turns for which a thread of torch's OpenMP (libgomp) waits actively for the others of its product, before it sleeps.

Its own 300,000 keep a core from the very thread that is waited for where another process has the other core: a picture
of 1.9 s then took 47 to 57 s. With 2000 it takes 8 to 10 s there, and 2.1 s on an idle machine; sleeping at once takes
5 to 8 s and 3.0 s.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What the settings mean on this machine.

    Attributes:
        device: as the coordinator is told.
        worker: settings of the worker.
        worker_environment: variables that the worker gets beside those of this process.
    """

    device: DeviceFacts
    worker: WorkerSettings
    worker_environment: Mapping[str, str]

    @property
    def data_plane_is_private(self) -> bool:
        """Whether activations stay on this host."""
        return ipaddress.ip_address(self.worker.bind_address).is_loopback


def check_machine(
    settings: AgentSettings, nvml: Nvml, environment: Mapping[str, str], torch_obstacle: str
) -> Preflight:
    """Looks at everything that the settings name.

    Args:
        settings: validated in themselves.
        nvml: asked only for a CUDA device.
        environment: of this process.
        torch_obstacle: why the installed torch can use no CUDA device; empty where it can.

    Raises:
        InvalidArgumentError: names the option that does not fit this machine.
    """
    cache = cache_folder(environment)
    model = find_model(settings.model, configs=settings.model_config_folder, cache=cache)
    device = _find_device(settings, nvml, environment.get("CUDA_VISIBLE_DEVICES"), torch_obstacle)
    on_cuda = settings.device != "cpu"
    threads = _threads(settings)
    # At its true speed a device runs freely: nothing about it is emulated.
    emulated_speed = None if settings.emulate_speed == 1.0 else settings.emulate_speed
    worker = WorkerSettings(
        agent=settings.name,
        model=model.name,
        model_path=str(model.path),
        model_configs_path=None if model.configs is None else str(model.configs),
        cache_path=str(cache),
        # The worker sees its own device only, so there it is the first one.
        device="cuda:0" if on_cuda else "cpu",
        dtype=settings.dtype,
        threads=threads,
        pin_core=settings.pin_core,
        emulate_speed=emulated_speed,
        memory_limit_bytes=settings.memory_limit_bytes,
        offload=settings.offload,
        bind_address=find_bind_address(settings.bind_address),
    )
    return Preflight(
        device=replace(
            device,
            emulated_speed=emulated_speed,
            memory_limit_bytes=settings.memory_limit_bytes,
            host=platform.node(),
            kernel=running_kernel(),
        ),
        worker=worker,
        worker_environment=_worker_environment(threads, device.uuid if on_cuda else "", environment),
    )


def _find_device(
    settings: AgentSettings, nvml: Nvml, cuda_visible_devices: str | None, torch_obstacle: str
) -> DeviceFacts:
    if settings.device == "cpu":
        return cpu_device(read_host(), AgentId(settings.name))
    if torch_obstacle:
        raise InvalidArgumentError.of("--device", f"{settings.device} cannot be used: {torch_obstacle}")
    try:
        devices = visible_devices(nvml.cuda_devices(), cuda_visible_devices)
    except DeviceError as error:
        raise InvalidArgumentError.of("--device", f"{settings.device} cannot be used: {error}") from error
    return cuda_device(devices, settings.device)


def _threads(settings: AgentSettings) -> int:
    cores = os.sched_getaffinity(0)
    if settings.pin_core is None:
        return settings.threads or len(cores)
    if settings.pin_core not in cores:
        listed = ", ".join(map(str, sorted(cores)))
        raise InvalidArgumentError.of("--pin-core", f"core {settings.pin_core} is not one of {listed}")
    return settings.threads or 1


def find_bind_address(text: str) -> str:
    """The local address of a name or address, as numbers.

    Raises:
        InvalidArgumentError: it names no address of this host, or all of them at once.
    """
    try:
        family, _, _, _, target = socket.getaddrinfo(text, 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InvalidArgumentError.of("--bind-address", f"{text!r} cannot be resolved: {error}") from error
    address = str(target[0])
    if address in _UNSPECIFIED:
        raise InvalidArgumentError.of("--bind-address", f"{text} is no address that other agents could reach")
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind(target)
    except OSError as error:
        raise InvalidArgumentError.of("--bind-address", f"{text} is no address of this host: {error}") from error
    return address


def _worker_environment(threads: int, cuda_uuid: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Threads of every library that starts some, one device in view, and no network for the model libraries.

    How threads wait for each other is the user's choice, where ``environment`` holds one.
    """
    waits = (
        {} if "OMP_WAIT_POLICY" in environment else {"GOMP_SPINCOUNT": environment.get("GOMP_SPINCOUNT", str(_SPINS))}
    )
    return {
        **waits,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": cuda_uuid,
    }
