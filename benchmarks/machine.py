"""The record of the machine that stands beside every result: what it is, not who it is. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "grpcio", "protobuf")
CPU_MODEL_FIELD = "model name"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecord:
    """One machine at one moment.

    Attributes:
        cpu_model: as the kernel names it.
        cores: that this process may use.
        memory_bytes: of the machine.
        virtual: the hypervisor, if the kernel sees one.
        kernel: its release.
        python: version and implementation.
        packages: versions of what decides speed and pictures.
        commit: of this repository; None outside of one.
        changed_files: tracked source files that differ from that commit.
        background_cores: cores kept busy by others, measured over a second before the run.
    """

    cpu_model: str
    cores: int
    memory_bytes: int
    virtual: bool
    kernel: str
    python: str
    packages: dict[str, str]
    commit: str | None
    changed_files: int
    background_cores: float

    def as_json(self) -> dict[str, object]:
        """For a result file."""
        return asdict(self)


def read_machine() -> MachineRecord:
    """Looks at this machine; takes a second."""
    return MachineRecord(
        cpu_model=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        virtual="hypervisor" in _cpu_fields().get("flags", "").split(),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        commit=_git("rev-parse", "HEAD") or None,
        changed_files=len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        background_cores=round(_busy_cores(interval_s=1.0), 2),
    )


def _cpu_model() -> str:
    return _cpu_fields().get(CPU_MODEL_FIELD) or platform.processor() or platform.machine()


def _cpu_fields() -> dict[str, str]:
    """Fields of the first processor; empty where the kernel has no such file."""
    source = Path("/proc/cpuinfo")
    if not source.is_file():
        return {}
    first = source.read_text(encoding="utf-8").split("\n\n", maxsplit=1)[0]
    fields = (line.split(":", maxsplit=1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in fields}


def _busy_cores(*, interval_s: float) -> float:
    return sum(psutil.cpu_percent(interval=interval_s, percpu=True)) / 100.0


def _git(*arguments: str) -> str:
    """What git says of this repository; empty where there is none or no git."""
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
