"""Asks the agent's own executable which CUDA devices this machine has. Imports neither NVML nor torch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from polyrhythm.errors import InternalError
from polyrhythm_client.json_fields import JsonFields
from polyrhythm_client.local.child import ChildEndedError

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
    found = [JsonFields(json.loads(line), "devices") for line in output.decode().splitlines() if line.strip()]
    return CudaDevices(
        devices=tuple(device.text("device") for device in found),
        names=tuple(device.text("name") for device in found),
        uuids=tuple(device.text("uuid") for device in found),
        absence="" if found else said.rpartition("no CUDA device: ")[2],
    )
