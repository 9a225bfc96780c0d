"""Devices as the driver and the operating system report them, with a machine that the test makes up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceFacts, DeviceKind, SoftwareVersion
from polyrhythm_agent.daemon.main import MPS_PERCENTAGE, compose, list_devices, main
from polyrhythm_agent.daemon.preflight import check_machine
from polyrhythm_agent.errors import DeviceError
from polyrhythm_agent.host.device import Host, cpu_device, cuda_device, read_host, running_kernel, visible_devices
from polyrhythm_agent.host.torch_build import cuda_obstacle, obstacle_of
from polyrhythm_agent.settings import AgentSettings, read_settings


def gpu(letter: str, name: str) -> DeviceFacts:
    return DeviceFacts(
        uuid=f"GPU-{letter * 8}", name=name, kind=DeviceKind.CUDA, memory_total_bytes=8 << 30,
        memory_free_bytes=7 << 30, driver="560.35",
    )  # fmt: skip


DEVICES = (gpu("a", "RTX 4090"), gpu("b", "RTX 3060"), gpu("c", "GTX 1080"))
HOST = Host(host_id="h", cpu_name="EPYC", memory_total_bytes=64 << 30, memory_free_bytes=32 << 30)


class FakeNvml:
    """A machine with these devices."""

    def __init__(self, *devices: DeviceFacts) -> None:
        self._devices = devices

    def cuda_devices(self) -> tuple[DeviceFacts, ...]:
        return self._devices


class MissingNvml:
    """A machine without a driver."""

    def cuda_devices(self) -> tuple[DeviceFacts, ...]:
        raise DeviceError("NVML is not here: Shared Library Not Found")


# --- which devices CUDA would see --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        (None, ["RTX 4090", "RTX 3060", "GTX 1080"]),
        ("", []),
        ("2,0", ["GTX 1080", "RTX 4090"]),
        ("GPU-bbbb", ["RTX 3060"]),
        ("0,7,1", ["RTX 4090"]),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(variable: str | None, names: list[str]) -> None:
    assert [device.name for device in visible_devices(DEVICES, variable)] == names


def test_mig_instances_are_refused() -> None:
    with pytest.raises(DeviceError, match="MIG-1234"):
        visible_devices(DEVICES, "MIG-1234")


def test_a_device_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InvalidArgumentError, match=r"--device: there is no cuda:3; visible .* cuda:0 RTX 4090, cuda:1"):
        cuda_device(DEVICES, "cuda:3")


# --- the CPU -----------------------------------------------------------------------------------------------------


def test_cpu_agents_of_one_host_differ_and_stay_the_same() -> None:
    first, second = (cpu_device(HOST, AgentId(name)) for name in ("a", "b"))
    assert first.uuid != second.uuid
    assert first == cpu_device(HOST, AgentId("a"))
    assert first.uuid != cpu_device(replace(HOST, host_id="other"), AgentId("a")).uuid
    assert (first.kind, first.name, first.driver) == (DeviceKind.CPU, "EPYC", "")


def test_this_host_has_a_cpu_and_memory() -> None:
    host = read_host()
    assert host.host_id
    assert host.cpu_name
    assert 0 < host.memory_free_bytes <= host.memory_total_bytes


# --- listing -----------------------------------------------------------------------------------------------------


def test_listing_prints_an_object_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_devices(FakeNvml(*DEVICES), "1,2", "") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "device": "cuda:0", "uuid": "GPU-bbbbbbbb", "name": "RTX 3060", "kind": "cuda",
        "memory_total_bytes": 8 << 30, "memory_free_bytes": 7 << 30, "driver": "560.35",
    }  # fmt: skip
    assert second["name"] == "GTX 1080"


@pytest.mark.parametrize(
    ("nvml", "reason"), [(MissingNvml(), "Shared Library Not Found"), (FakeNvml(), "the driver shows none")]
)
def test_without_devices_the_reason_is_on_standard_error(
    nvml: FakeNvml | MissingNvml, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list_devices(nvml, None, "torch 2.13.0+cpu has no CUDA") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert reason in printed.err


def test_devices_that_torch_cannot_use_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_devices(FakeNvml(*DEVICES[:2]), None, "torch 2.13.0+cpu has no CUDA") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    reason = "no CUDA device: torch 2.13.0+cpu has no CUDA; not used: RTX 4090, RTX 3060"
    assert printed.err == f"polyrhythm-agent: {reason}\n"


CPU_BUILD = "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA_BUILD = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"


@pytest.mark.parametrize(
    ("installed", "version_file", "obstacle"),
    [
        ("2.13.0+cpu", CPU_BUILD, "torch 2.13.0+cpu has no CUDA"),
        ("2.13.0", CPU_BUILD, "torch 2.13.0 has no CUDA"),
        ("2.13.0", "cuda = None\n", "torch 2.13.0 has no CUDA"),
        ("2.13.0+cpu", "", "torch 2.13.0+cpu has no CUDA"),
        ("2.13.0+cu130", CUDA_BUILD, ""),
        ("2.13.0", CUDA_BUILD, ""),
        ("2.13.0", "", ""),
    ],
)
def test_a_torch_without_cuda_is_known_without_importing_it(installed: str, version_file: str, obstacle: str) -> None:
    assert obstacle_of(installed, version_file) == obstacle


def test_what_is_read_of_the_installed_torch_is_what_torch_says() -> None:
    assert bool(cuda_obstacle()) == (torch.version.cuda is None)


# --- what the settings mean on a machine -------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    (tmp_path / "transformer" / "w.safetensors").write_bytes(b"")
    return read_settings({"coordinator": "h:1", "name": "a", "model": str(tmp_path), "threads": 3})


def with_options(settings: AgentSettings, **changes: object) -> AgentSettings:
    return settings.model_copy(update=changes)


def test_a_worker_is_told_where_a_checkpoints_configs_and_their_cache_are(
    settings: AgentSettings, tmp_path: Path
) -> None:
    names = ("model.diffusion_model.a", "first_stage_model.a", "cond_stage_model.a")
    header = json.dumps({name: {"dtype": "F32"} for name in names}).encode()
    (tmp_path / "sd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    configs = tmp_path / "configs"
    for part in ("unet", "vae", "text_encoder"):
        (configs / part).mkdir(parents=True)
        (configs / part / "config.json").write_text("{}")
    (configs / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    given = with_options(settings, model=str(tmp_path / "sd.safetensors"), model_config_folder=str(configs))
    worker = check_machine(given, MissingNvml(), {"POLYRHYTHM_CACHE": str(tmp_path / "cache")}, "").worker
    assert (worker.model, worker.model_path) == ("sd", str(tmp_path / "sd.safetensors"))
    assert (worker.model_configs_path, worker.cache_path) == (str(configs), str(tmp_path / "cache"))
    assert check_machine(settings, MissingNvml(), {}, "").worker.model_configs_path is None


def test_a_cuda_worker_sees_its_own_device_only(settings: AgentSettings) -> None:
    found = check_machine(
        with_options(settings, device="cuda:1"), FakeNvml(*DEVICES), {"CUDA_VISIBLE_DEVICES": "2,1"}, ""
    )
    assert found.device.name == "RTX 3060"
    assert found.worker.device == "cuda:0"
    assert found.worker_environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbbbbbb"
    assert found.worker_environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_cpu_worker_sees_no_device_and_has_its_threads(settings: AgentSettings) -> None:
    found = check_machine(settings, MissingNvml(), {}, "torch has no CUDA, and nobody minds")
    assert found.worker_environment["CUDA_VISIBLE_DEVICES"] == ""
    assert found.worker_environment["OMP_NUM_THREADS"] == "3"
    assert (found.worker.threads, found.worker.agent, found.worker.device) == (3, "a", "cpu")
    assert found.data_plane_is_private


@pytest.mark.parametrize(
    ("environment", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_do_not_keep_a_core_from_each_other_unless_the_user_says_so(
    settings: AgentSettings, environment: dict[str, str], spins: str | None
) -> None:
    found = check_machine(settings, MissingNvml(), environment, "")
    assert found.worker_environment.get("GOMP_SPINCOUNT") == spins


def test_agents_that_share_a_device_unevenly_are_told_apart_by_their_software(settings: AgentSettings) -> None:
    """What is measured of a device is kept by its software too, so half of a device is not taken for all of it."""
    half, all_of_it = {MPS_PERCENTAGE: "50"}, {MPS_PERCENTAGE: "100"}
    on_cuda = check_machine(with_options(settings, device="cuda:1"), FakeNvml(*DEVICES), {}, "")
    found = [compose(settings, on_cuda, environment).registration.software for environment in (half, all_of_it, {})]
    assert len(set(found)) == 3
    on_cpu = check_machine(settings, MissingNvml(), half, "")
    assert compose(settings, on_cpu, half).registration.software[-1] == SoftwareVersion(name="threads", version="3")


@pytest.mark.parametrize(("given", "told"), [(None, None), (1.0, None), (0.5, 0.5)])
def test_only_a_share_of_the_speed_is_called_emulated(
    settings: AgentSettings, given: float | None, told: float | None
) -> None:
    found = check_machine(with_options(settings, emulate_speed=given), MissingNvml(), {}, "")
    assert (found.device.emulated_speed, found.worker.emulate_speed) == (told, told)


def test_cuda_without_a_driver_names_the_option(settings: AgentSettings) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--device: cuda:0 cannot be used: NVML is not here"):
        check_machine(with_options(settings, device="cuda:0"), MissingNvml(), {}, "")


def test_cuda_without_a_torch_that_can_use_it_names_the_option(settings: AgentSettings) -> None:
    with pytest.raises(InvalidArgumentError, match="--device: cuda:0 cannot be used: torch 2 has no CUDA"):
        check_machine(with_options(settings, device="cuda:0"), FakeNvml(*DEVICES), {}, "torch 2 has no CUDA")


def test_an_agent_in_a_folder_that_was_deleted_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["--coordinator", "127.0.0.1:1", "--name", "a"]) == 1
    assert capfd.readouterr().err.startswith("polyrhythm-agent: the current folder does not exist any more")


def test_all_containers_of_a_host_name_the_same_running_kernel(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("8f2a\n", encoding="ascii")
    other.write_text("77b0\n", encoding="ascii")
    assert running_kernel(one) == running_kernel(one) != running_kernel(other)
    assert "8f2a" not in running_kernel(one)
    assert running_kernel(tmp_path / "absent") == ""
