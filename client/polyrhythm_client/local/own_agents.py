"""What the user says about the agents of a fleet of the command's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm_client.local.devices import CudaDevices
from polyrhythm_client.parsing import parse_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAgents:
    """As written; None leaves it to the agents and the machine.

    Attributes:
        model_config: folder of a checkpoint's configs and tokenizers.
        dtype: arithmetic.
        offload: whether the denoiser's weights stay outside of the devices' memory.
        gpus: CUDA devices to use, by number or UUID with commas between, an agent each.
    """

    model_config: Path | None = None
    dtype: DtypeChoice | None = None
    offload: OffloadChoice | None = None
    gpus: str | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """Names of what was said."""
        return tuple(name for name, value in asdict(self).items() if value is not None)

    def loading_options(self) -> Mapping[str, object]:
        """Options of ``polyrhythm-agent`` that say how the model is loaded; None where nothing was said."""
        return {"--model-config": self.model_config, "--dtype": self.dtype, "--offload": self.offload}


NOTHING_SAID = OwnAgents()


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
