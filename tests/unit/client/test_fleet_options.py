"""What may be said about the fleet, and about the agents of a command's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm_client.cli.options import FleetOptions
from polyrhythm_client.cli.own_fleet import FleetChoice, check_choice
from polyrhythm_client.local.devices import CudaDevices, chosen_devices
from polyrhythm_client.local.layout import AgentLayout
from polyrhythm_client.local.programs import agent_arguments

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
    ("gpus", "message"),
    [
        ("3", "gpus: 3 names no CUDA device; here are: cuda:0 A card GPU-a1, cuda:1"),
        ("GPU-a", "gpus: GPU-a names several CUDA devices"),
        ("1,GPU-a2", "gpus: GPU-a2 names cuda:1 once more"),
        ("0,,1", "gpus: must be numbers or UUIDs"),
    ],
)
def test_what_is_no_device_is_named(gpus: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        chosen_devices(CUDA, gpus)


def test_a_machine_without_devices_says_why() -> None:
    none = CudaDevices(devices=(), names=(), uuids=(), absence="no driver")
    with pytest.raises(InvalidArgumentError, match="0 names no CUDA device; here are: no driver"):
        chosen_devices(none, "0")


def test_agents_are_told_how_to_load_and_what_the_user_says_goes_first() -> None:
    agent = AgentLayout(agent=AgentId("local-0"), device="cpu", dtype="float32")
    given = FleetOptions(model_config=Path("/configs"), offload=OffloadChoice.NEVER)
    arguments = agent_arguments(agent, "127.0.0.1:5", "m", given.loading)
    assert arguments[-3:] == ("--dtype=float32", "--model-config=/configs", "--offload=never")
    arguments = agent_arguments(agent, "127.0.0.1:5", "m", replace(given, dtype=DtypeChoice.BFLOAT16).loading)
    assert [argument for argument in arguments if argument.startswith("--dtype")] == ["--dtype=bfloat16"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (FleetOptions(model_config=Path("/c")), "model-config"),
        (FleetOptions(dtype=DtypeChoice.FLOAT16), "dtype"),
        (FleetOptions(offload=OffloadChoice.ALWAYS), "offload"),
        (FleetOptions(gpus="0"), "gpus"),
    ],
)
def test_a_fleet_that_runs_cannot_be_told_how_to_load(given: FleetOptions, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name}: starts a fleet of its own and cannot go"):
        check_choice(FleetChoice(options=replace(given, address="127.0.0.1:1")))


def test_emulated_agents_use_no_gpu() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^gpus: goes without speeds"):
        check_choice(FleetChoice(options=FleetOptions(speeds="1", gpus="0")))
