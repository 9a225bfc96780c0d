"""The agent daemon: one device's delegate to the coordinator. Command line and composition root; no torch.

Constructs the link, the rules and the worker's command, and runs them until a signal or the lifeline ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn

import structlog

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import THREADS_SOFTWARE, DeviceFacts, SoftwareVersion
from polyrhythm.process.environment import Daemon, told_by_variables
from polyrhythm.process.lifeline import watch_lifeline
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm.process.standard_streams import forgive_standard_streams
from polyrhythm.session.events import PROTOCOL_VERSION, AgentEvent, Register
from polyrhythm_agent.daemon.command_line import Invocation, parse_command_line
from polyrhythm_agent.daemon.coordinator_link import CoordinatorLink, LinkTiming
from polyrhythm_agent.daemon.interpreter import Interpreter
from polyrhythm_agent.daemon.preflight import Preflight, check_machine
from polyrhythm_agent.daemon.rules.state import Limits, initial
from polyrhythm_agent.daemon.worker_process import WorkerProcess
from polyrhythm_agent.errors import DeviceError
from polyrhythm_agent.host.current_folder import require_current_folder
from polyrhythm_agent.host.device import Nvml, PynvmlNvml, visible_devices
from polyrhythm_agent.host.software import software_versions
from polyrhythm_agent.host.torch_build import cuda_obstacle
from polyrhythm_agent.settings import AgentSettings, read_settings, set_by_variables

log = structlog.get_logger()

WORKER_MODULE = "polyrhythm_agent.worker.start"
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
CALIBRATE = "calibrate"
MPS_PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
"""Of the threads of one GPU that several agents share: set by whoever starts them, read by the driver."""
_WORKER_LEAVES_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentParts:
    """What one agent is made of.

    Attributes:
        coordinator: ``HOST:PORT`` or ``unix:/PATH``.
        registration: first message of each session.
        worker_command: program and arguments that start a worker; ``--channel-fd N --daemon-pid N`` is added.
        worker_environment: all of it.
        pin_core: core that the worker is bound to; None for any.
        limits: of the worker.
        timing: of the link.
        connect_timeout_s: how long to look for the coordinator at first; None for ever.
        lifeline_fd: pipe that ends the agent; None for none.
    """

    coordinator: str
    registration: Register
    worker_command: Sequence[str]
    worker_environment: Mapping[str, str]
    pin_core: int | None
    limits: Limits
    timing: LinkTiming
    connect_timeout_s: float | None
    lifeline_fd: int | None


def compose(settings: AgentSettings, preflight: Preflight, environment: Mapping[str, str]) -> AgentParts:
    """Says what an agent with these settings is made of.

    Args:
        settings: validated.
        preflight: what they mean on this machine.
        environment: of this process, which the worker inherits.

    Raises:
        InternalError: the installation lacks a part.
    """
    return AgentParts(
        coordinator=settings.coordinator,
        registration=Register(
            agent=AgentId(settings.name),
            protocol_version=PROTOCOL_VERSION,
            software=(*software_versions(), *_share_of_device(preflight, environment)),
            device=preflight.device,
        ),
        worker_command=(sys.executable, "-m", WORKER_MODULE, "--settings", preflight.worker.to_json()),
        worker_environment={**environment, **preflight.worker_environment},
        pin_core=settings.pin_core,
        limits=Limits(start_s=settings.load_timeout_s, starts_max=settings.start_attempts),
        timing=LinkTiming(),
        connect_timeout_s=settings.connect_timeout_s,
        lifeline_fd=settings.lifeline_fd,
    )


def _share_of_device(preflight: Preflight, environment: Mapping[str, str]) -> tuple[SoftwareVersion, ...]:
    """How much of its device a worker has, which what is measured of it depends on.

    Compute threads of a CPU also decide the order of its sums, and so a picture's last bits.
    """
    if preflight.worker.device == "cpu":
        return (SoftwareVersion(name=THREADS_SOFTWARE, version=str(preflight.worker.threads)),)
    percentage = environment.get(MPS_PERCENTAGE)
    return (SoftwareVersion(name="mps active thread percentage", version=percentage),) if percentage else ()


async def run_agent(parts: AgentParts, stop: asyncio.Event) -> None:
    """Runs an agent until told to stop; leaves no process behind.

    Args:
        parts: of the agent.
        stop: ends it.

    Raises:
        InvalidArgumentError: the lifeline is no pipe, or the worker cannot load its model.
        RegistrationRefusedError: the coordinator does not want this agent.
        UnreachableError: no coordinator answered within the connect timeout.
        WorkerStartError: too many workers in a row were lost before they were ready.
    """

    async def start_worker() -> WorkerProcess:
        return await WorkerProcess.start(
            parts.worker_command, environment=parts.worker_environment, pin_core=parts.pin_core
        )

    def send_up(event: AgentEvent) -> None:
        link.send(event)

    now_s = asyncio.get_running_loop().time()
    state = initial(parts.registration.agent, parts.limits, now_s)
    interpreter = Interpreter(state=state, start_worker=start_worker, send_up=send_up)
    link = CoordinatorLink(
        address=parts.coordinator,
        registration=parts.registration,
        handle=interpreter.handle,
        chance=random.Random().random,  # noqa: S311 - spreads retries, protects nothing
        timing=parts.timing,
        connect_timeout_s=parts.connect_timeout_s,
    )
    if parts.lifeline_fd is not None:
        watch_lifeline(parts.lifeline_fd, stop.set)
    jobs: tuple[Coroutine[None, None, object], ...] = (interpreter.run(), link.run(), stop.wait())
    running = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await interpreter.stop(_WORKER_LEAVES_S)
    for task in done:
        task.result()


async def _serve(parts: AgentParts) -> None:
    """Runs the agent until SIGINT, SIGTERM or its lifeline."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run_agent(parts, stop)
    log.info("ended")


def list_devices(nvml: Nvml, cuda_visible_devices: str | None, torch_obstacle: str) -> int:
    """Prints a JSON object a CUDA device, in the order of ``cuda:N``; says on standard error why there are none.

    Args:
        nvml: is asked.
        cuda_visible_devices: value of the environment variable; None where it is not set.
        torch_obstacle: why the installed torch can use none of them; empty where it can.
    """
    devices, reason = (), "the driver shows none"
    try:
        devices = visible_devices(nvml.cuda_devices(), cuda_visible_devices)
    except DeviceError as error:
        reason = str(error)
    if devices and torch_obstacle:
        devices, reason = (), f"{torch_obstacle}; not used: {', '.join(device.name for device in devices)}"
    for index, device in enumerate(devices):
        sys.stdout.write(_device_line(f"cuda:{index}", device) + "\n")
    if not devices:
        sys.stderr.write(f"polyrhythm-agent: no CUDA device: {reason}\n")
    return 0


def _device_line(name: str, device: DeviceFacts) -> str:
    own = {"emulated_speed", "memory_limit_bytes", "host", "kernel"}  # an agent's own, which a device has none of
    facts = {key: value for key, value in asdict(device).items() if key not in own}
    return json.dumps({"device": name, **facts})


def _run(arguments: Sequence[str] | None) -> int:
    invocation = parse_command_line(arguments)
    with told_by_variables(Daemon.AGENT, set_by_variables(invocation.options)):
        return _carry_out(invocation)


def _carry_out(invocation: Invocation) -> int:
    if invocation.list_devices:
        return list_devices(PynvmlNvml(), os.environ.get("CUDA_VISIBLE_DEVICES"), cuda_obstacle())
    settings = read_settings(invocation.options)
    log_to_stderr(agent=settings.name)
    require_current_folder("the worker")
    preflight = check_machine(settings, PynvmlNvml(), os.environ, cuda_obstacle())
    parts = compose(settings, preflight, os.environ)
    log.info("settings", **settings.model_dump(exclude={"name"}))
    log.info("device", **asdict(preflight.device))
    if not preflight.data_plane_is_private:
        log.warning("activations travel in plain text", address=preflight.worker.bind_address)
    asyncio.run(_serve(parts))
    return 0


def _become_calibration(arguments: Sequence[str]) -> NoReturn:
    """Goes on as the program that measures a model: it needs torch, which no daemon loads."""
    os.execv(sys.executable, [sys.executable, "-m", "polyrhythm_agent.calibration", *arguments])  # noqa: S606


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``polyrhythm-agent``; returns its exit code.

    Args:
        arguments: without the program's name; those of this process if None.
    """
    forgive_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] == CALIBRATE:
            _become_calibration(arguments[1:])
        return _run(arguments)
    except PolyrhythmError as error:
        sys.stderr.write(f"polyrhythm-agent: {error}\n")
        return EXIT_BAD_INPUT if isinstance(error, InvalidArgumentError) else EXIT_FAILED
    except KeyboardInterrupt:
        return 0  # before there was anything to end


if __name__ == "__main__":
    sys.exit(main())
