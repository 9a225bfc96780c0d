"""Which CUDA devices this machine has, by the agent's own executable, and which of them were asked for.

Imports neither NVML nor torch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from polyrhythm.errors import InternalError, InvalidArgumentError
from polyrhythm_client.local.child import ChildEndedError
from polyrhythm_client.parsing import parse_gpus

LIST_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevices:
    """What was found.

    Attributes:
        devices: such as ``cuda:0``.
        names: what people call them, in the same order.
        uuids: of the devices, in the same order.
        absence: why there are none; empty where there are some.
    """

    devices: tuple[str, ...]
    names: tuple[str, ...]
    uuids: tuple[str, ...]
    absence: str


async def find_cuda_devices(agent_command: Sequence[str]) -> CudaDevices:
    """Lists the CUDA devices of this machine.

    Args:
        agent_command: program and arguments that start an agent daemon.

    Raises:
        ChildEndedError: the program fails.
        InternalError: it does not answer in time.
    """
    process = await asyncio.create_subprocess_exec(
        *agent_command,
        "--list-devices",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), LIST_DEADLINE_S)
    except TimeoutError:
        raise InternalError(f"the agent did not list its devices within {LIST_DEADLINE_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = complaint.decode(errors="replace").strip()
    if process.returncode:
        raise ChildEndedError("the agent that lists the devices", process.returncode, said)
    try:
        found = [json.loads(line) for line in output.decode().splitlines() if line.strip()]
        devices, names, uuids = (tuple(str(each[key]) for each in found) for key in ("device", "name", "uuid"))
    except (ValueError, KeyError, TypeError) as error:
        raise InternalError(f"the agent listed its devices as {output[:80]!r}") from error
    absence = "" if found else said.rpartition("no CUDA device: ")[2]
    return CudaDevices(devices=devices, names=names, uuids=uuids, absence=absence)


def chosen_devices(cuda: CudaDevices, gpus: str) -> CudaDevices:
    """Those CUDA devices that were asked for, in the order in which they were.

    Args:
        cuda: of this machine.
        gpus: numbers as in ``cuda:N``, or UUIDs or unique beginnings of them, with commas between.

    Raises:
        InvalidArgumentError: names the one that is none or several of them, or is named twice.
    """
    chosen: list[int] = []
    for gpu in parse_gpus(gpus):
        found = [
            index
            for index, (device, uuid) in enumerate(zip(cuda.devices, cuda.uuids, strict=True))
            if device == f"cuda:{gpu}" or (not gpu.isdecimal() and uuid.startswith(gpu))
        ]
        if len(found) != 1:
            here = ", ".join(map(" ".join, zip(cuda.devices, cuda.names, cuda.uuids, strict=True)))
            what = "several CUDA devices" if found else "no CUDA device"
            raise InvalidArgumentError.of("gpus", f"{gpu} names {what}; here are: {here or cuda.absence or 'none'}")
        if found[0] in chosen:
            raise InvalidArgumentError.of("gpus", f"{gpu} names {cuda.devices[found[0]]} once more")
        chosen += found
    return CudaDevices(
        devices=tuple(cuda.devices[index] for index in chosen),
        names=tuple(cuda.names[index] for index in chosen),
        uuids=tuple(cuda.uuids[index] for index in chosen),
        absence="",
    )
