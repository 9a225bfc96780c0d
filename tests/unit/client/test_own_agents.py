"""What may be said about the agents of a command's own fleet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm_client.cli.fleet_in_use import FleetWish, check_wish
from polyrhythm_client.local.devices import CudaDevices
from polyrhythm_client.local.fleet import agent_arguments
from polyrhythm_client.local.layout import AgentLayout
from polyrhythm_client.local.own_agents import OwnAgents, chosen_devices

CUDA = CudaDevices(
    devices=("cuda:0", "cuda:1", "cuda:2"),
    names=("A card", "A card", "An old card"),
    uuids=("GPU-a1", "GPU-a2", "GPU-b"),
    absence="",
)


@pytest.mark.parametrize(
    ("gpus", "devices"), [("1", ["cuda:1"]), ("2,0", ["cuda:2", "cuda:0"]), ("GPU-b, 1", ["cuda:2", "cuda:1"])]
)
def test_devices_are_named_by_number_or_uuid(gpus: str, devices: list[str]) -> None:
    assert list(chosen_devices(CUDA, gpus).devices) == devices


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("3", "gpus: 3 names no CUDA device; here are: cuda:0 A card GPU-a1, cuda:1"),
        ("GPU-a", "gpus: GPU-a names several CUDA devices"),
        ("1,GPU-a2", "gpus: GPU-a2 names cuda:1 once more"),
        ("0,,1", "gpus: must be numbers or UUIDs"),
    ],
)
def test_what_is_no_device_is_named(gpus: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        chosen_devices(CUDA, gpus)


def test_a_machine_without_devices_says_why() -> None:
    none = CudaDevices(devices=(), names=(), uuids=(), absence="no driver")
    with pytest.raises(InvalidArgumentError, match="0 names no CUDA device; here are: no driver"):
        chosen_devices(none, "0")


def test_agents_are_told_how_to_load_and_what_the_user_says_goes_first() -> None:
    agent = AgentLayout(agent=AgentId("local-0"), device="cpu", dtype="float32")
    own = OwnAgents(model_config=Path("/configs"), offload=OffloadChoice.NEVER)
    told = agent_arguments(agent, "127.0.0.1:5", "m", own)
    assert told[-6:] == ("--dtype", "float32", "--model-config", "/configs", "--offload", "never")
    told = agent_arguments(agent, "127.0.0.1:5", "m", replace(own, dtype=DtypeChoice.BFLOAT16))
    assert told[told.index("--dtype") + 1] == "bfloat16"
    assert told.count("--dtype") == 1


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (OwnAgents(model_config=Path("/c")), "model-config"),
        (OwnAgents(dtype=DtypeChoice.FLOAT16), "dtype"),
        (OwnAgents(offload=OffloadChoice.ALWAYS), "offload"),
        (OwnAgents(gpus="0"), "gpus"),
    ],
)
def test_a_fleet_that_runs_cannot_be_told_how_to_load(own: OwnAgents, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name}: starts a fleet of its own and cannot go"):
        check_wish(FleetWish(address="127.0.0.1:1", own=own))


def test_emulated_agents_use_no_gpu() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^gpus: goes without speeds"):
        check_wish(FleetWish(speeds=(1.0,), own=OwnAgents(gpus="0")))
