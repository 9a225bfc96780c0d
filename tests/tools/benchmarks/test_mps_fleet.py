"""Several agents on one GPU: how MPS is started, asked, ended and refused, on a machine that is described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mps_fleet import CONTROL, Finished, MpsUnavailableError, mps_cases, mps_control, mps_layout

ONE_GPU = Finished(code=0, output="GPU 0: Described (UUID: GPU-0)")


@dataclass(slots=True)
class DescribedControl:
    """The control program: how often it is asked in vain before it answers, and how it ended."""

    deaf: int = 0
    code: int | None = None
    ended: bool = False

    def exit_code(self) -> int | None:
        return self.code

    def end(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self.ended = True


@dataclass(slots=True)
class DescribedMachine:
    """Programs by name, what the driver lists, and what was asked."""

    installed: frozenset[str] = frozenset({"nvidia-smi", CONTROL})
    listed: Finished = ONE_GPU
    control: DescribedControl = field(default_factory=DescribedControl)
    told: list[str] = field(default_factory=list)
    started: list[tuple[Sequence[str], Mapping[str, str]]] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.installed

    def run(self, command: Sequence[str], environment: Mapping[str, str], text: str = "") -> Finished:
        if command[0] == "nvidia-smi":
            return self.listed
        assert environment == self.started[0][1]
        self.told.append(text.strip())
        if text == "quit\n":
            self.control.code = 0
        self.control.deaf -= 1
        return Finished(code=1 if self.control.deaf >= 0 else 0, output="cannot connect")

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> DescribedControl:
        self.started.append((command, environment))
        return self.control


async def test_the_control_program_has_folders_of_its_own_and_is_ended(tmp_path: Path) -> None:
    machine = DescribedMachine(control=DescribedControl(deaf=1))
    async with mps_control(machine, tmp_path) as environment:
        assert {Path(folder).parent for folder in environment.values()} == {tmp_path}
        assert "quit" not in machine.told
    assert machine.started == [((CONTROL, "-f"), environment)]
    assert len(machine.told) == 3  # asked twice, then ended
    assert machine.told[-1] == "quit"
    assert machine.control.ended


async def test_it_is_ended_whatever_happens(tmp_path: Path) -> None:
    machine = DescribedMachine()
    with pytest.raises(KeyError):
        async with mps_control(machine, tmp_path):
            raise KeyError
    assert machine.told[-1] == "quit"
    assert machine.control.ended


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (DescribedMachine(installed=frozenset()), "no NVIDIA driver"),
        (DescribedMachine(installed=frozenset({"nvidia-smi"})), f"no MPS: {CONTROL} is not installed"),
        (DescribedMachine(listed=Finished(code=9, output="driver/library mismatch")), "no GPU: driver/library"),
        (DescribedMachine(listed=Finished(code=0, output="")), "the driver lists none"),
        (DescribedMachine(control=DescribedControl(code=1)), "ended at once with exit code 1"),
    ],
)
async def test_a_machine_without_it_is_told_why(machine: DescribedMachine, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MpsUnavailableError, match=reason):
        async with mps_control(machine, tmp_path):
            pytest.fail("there is no MPS")
    assert machine.control.ended == bool(machine.started)


def test_agents_share_one_device_and_differ_in_their_percentage() -> None:
    (case,) = mps_cases((100, 50), "demo-unet")
    assert (case.name, case.emulated) == ("1 : 0.5 (MPS), demo-unet", False)
    agents = mps_layout(case.speeds, {"CUDA_MPS_PIPE_DIRECTORY": "pipes"})
    assert [agent.device for agent in agents] == ["cuda:0", "cuda:0"]
    assert [dict(agent.environment)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] for agent in agents] == ["100", "50"]
    assert {dict(agent.environment)["CUDA_MPS_PIPE_DIRECTORY"] for agent in agents} == {"pipes"}
    assert [agent.agent for agent in agents] == ["local-0", "local-1"]
