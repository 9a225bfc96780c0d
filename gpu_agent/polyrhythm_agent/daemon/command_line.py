"""The command line of ``polyrhythm-agent``: what each option means, and what the command does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from polyrhythm.model.facts import EMULATED_SPEED_MIN
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm.process.environment import CACHE_VARIABLE, Daemon
from polyrhythm_agent import __version__
from polyrhythm_agent.settings import OPTIONS

_DESCRIPTION = """\
Lends one device to a Polyrhythm fleet.

The agent dials the coordinator, starts a worker process that loads the model
onto the device, and takes its share of each picture from then on: the rows and
steps that the coordinator plans for the measured speed of this device. Run one
agent for each device. It ends with Ctrl-C, and its worker with it; a worker
that crashes or hangs is started anew.
"""

_EPILOG = f"""\
examples:
  two unequal agents on one machine, the second at half speed
    polyrhythm-coordinator --port 50051
    polyrhythm-agent --coordinator 127.0.0.1:50051 --name fast --pin-core 0
    polyrhythm-agent --coordinator 127.0.0.1:50051 --name slow --pin-core 1 \\
        --emulate-speed 0.5

  the first CUDA device with a PixArt model from a folder, in half precision
    polyrhythm-agent --coordinator 10.0.0.5:50051 --name rtx4090 \\
        --device cuda:0 --model /models/PixArt-XL-2-512x512 --dtype float16 \\
        --bind-address 10.0.0.7

  a checkpoint file, which is converted once; its configs are known, and CLIP's
  vocabulary is fetched once from the Hugging Face hub
    polyrhythm-agent --coordinator 127.0.0.1:50051 --name gpu-0 \\
        --device cuda:0 --model /models/sd_xl_base_1.0.safetensors

  measure what stale activations and skipped steps cost on a model, once for all
  devices (see its own --help)
    polyrhythm-agent calibrate --model /models/PixArt-XL-2-512x512

environment:
  Each option may be set as {Daemon.AGENT}<OPTION> instead, such as
  {Daemon.AGENT}MEMORY_LIMIT=300MiB. An option wins over the environment, and
  a variable that nobody knows is refused.
  {CACHE_VARIABLE} is the folder that converted checkpoints are kept in
  (default: polyrhythm in the user's cache); HF_HOME and HF_HUB_OFFLINE mean for
  models of the hub what they mean everywhere.

exit codes:
  0  ended by a signal or by its lifeline
  1  the coordinator refused the agent or could not be reached in time, the
     device failed, or --start-attempts workers in a row ended before they were
     ready
  2  an option is wrong, in which case nothing was started, or the worker cannot
     load the model
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What the command was asked to do.

    Attributes:
        list_devices: only list devices.
        options: those that were given, by the name of the setting, as they were written.
    """

    list_devices: bool
    options: dict[str, object]


def parse_command_line(arguments: Sequence[str] | None = None) -> Invocation:
    """Splits the command line; values are validated later, together with the environment.

    Args:
        arguments: without the program's name; those of this process if None.

    Raises:
        SystemExit: --help or --version was asked for, or an option is unknown (exit code 2).
    """
    given = vars(_parser().parse_args(arguments))
    list_devices = bool(given.pop("list_devices"))
    return Invocation(list_devices=list_devices, options={k: v for k, v in given.items() if v is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polyrhythm-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_fleet(parser.add_argument_group("the fleet"))
    _add_work(parser.add_argument_group("the work"))
    _add_speed(parser.add_argument_group("speed"))
    _add_memory(parser.add_argument_group("memory"))
    other = parser.add_argument_group("other")
    _add(other, "lifeline_fd", "FD", "end when this inherited pipe ends; for programs that start agents as children")
    other.add_argument("--list-devices", action="store_true", help="print one JSON object a CUDA device, and end")
    other.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add(group: argparse._ArgumentGroup, name: str, metavar: str, text: str) -> None:
    group.add_argument(OPTIONS[name], dest=name, metavar=metavar, help=text)


def _add_fleet(fleet: argparse._ArgumentGroup) -> None:
    _add(fleet, "coordinator", "ADDRESS", "the coordinator to dial, HOST:PORT or unix:/PATH (required)")
    _add(fleet, "name", "NAME", "name of this agent, unique in the fleet (required): letters, digits, '.', '_', '-'")
    _add(
        fleet, "bind_address", "ADDRESS",
        "local address or host name that carries activations between workers, in plain text: loopback, or an address "
        "on a network that you trust (default: 127.0.0.1)",
    )  # fmt: skip
    _add(fleet, "connect_timeout_s", "SECONDS", "give up if no coordinator answers in time (default: try for ever)")


def _add_work(work: argparse._ArgumentGroup) -> None:
    _add(
        work, "model", "MODEL",
        f"{' or '.join(SHIPPED_MODELS)}, a local folder in diffusers format, a .safetensors checkpoint of Stable "
        f"Diffusion 1, 2 or XL, or ORG/NAME[@REVISION] of the Hugging Face hub (default: {DEFAULT_MODEL})",
    )  # fmt: skip
    _add(
        work, "model_config_folder", "FOLDER",
        "configs and tokenizers that go with a checkpoint file: a folder in diffusers format, weights not needed "
        "(default: the folder beside it that has its name without the suffix, or its name with .config; else configs "
        "that are known, with CLIP's vocabulary from the hub)",
    )  # fmt: skip
    _add(work, "device", "cpu|cuda:N", "what to compute on; N counts in PCI bus order (default: cpu)")
    _add(
        work, "dtype", "TYPE",
        "arithmetic: float32, bfloat16, float16, float64, or auto, which is float32 on a CPU and, on CUDA, bfloat16 "
        "where the device has it, else float16 where that is fast, else float32 (default: auto)",
    )  # fmt: skip
    _add(
        work, "load_timeout_s", "SECONDS",
        "how long the worker may load the model; the conversion of a checkpoint does not count as long as it gets on "
        "(default: 120)",
    )  # fmt: skip
    _add(
        work, "start_attempts", "N",
        "end when so many workers in a row were lost before they were ready (default: start another one for ever, "
        "after a delay that grows to 30 s)",
    )  # fmt: skip


def _add_speed(cpu: argparse._ArgumentGroup) -> None:
    _add(cpu, "threads", "N", "compute threads on a CPU (default: all cores of this process; 1 with --pin-core)")
    _add(cpu, "pin_core", "CORE", "bind the worker to one core, by its number (default: any core)")
    _add(
        cpu, "emulate_speed", "SHARE",
        f"run at this share of the true speed, from {EMULATED_SPEED_MIN:g} to 1, by sleeping after every block; on a "
        "CPU only; all figures of this agent are then called emulated (default: run freely)",
    )  # fmt: skip


def _add_memory(memory: argparse._ArgumentGroup) -> None:
    _add(
        memory, "memory_limit_bytes", "SIZE",
        "use no more memory than this for model and pictures, such as 300MiB or 8GiB; pictures are planned for it, and "
        "work that would not fit is refused (default: all that is free)",
    )  # fmt: skip
    _add(
        memory, "offload", "auto|never|always",
        "keep the denoiser's weights outside of the device's memory and bring them in block by block in every forward, "
        "from the host's memory for a GPU, from the files for a CPU; slower (default: auto, where it would not fit)",
    )  # fmt: skip
