"""Settings that a daemon hands to its worker at exec, as one JSON argument. No torch: the daemon imports this."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One frozen settings object a worker.

    Attributes:
        agent: name of the agent, also its name in plans.
        model: name under which requests ask for the model.
        model_path: local folder in diffusers format, or checkpoint file.
        model_configs_path: folder of a checkpoint's configs and tokenizers; None where ``model_path`` is a folder.
        cache_path: folder that converted checkpoints are kept in; used for a checkpoint only.
        device: torch device, such as ``cpu`` or ``cuda:0``.
        dtype: arithmetic of the denoiser; ``auto`` for what suits the device.
        threads: compute threads on a CPU.
        pin_core: core that the whole worker is bound to; None for all.
        emulate_speed: share of the true speed to run at; None for all of it.
        memory_limit_bytes: what the worker may use at most, weights included; None for all that is free.
        offload: ``auto``, ``never`` or ``always``: whether the denoiser's weights stay outside of the device's memory.
        bind_address: address of the interface that carries activations.
    """

    agent: str
    model: str
    model_path: str
    model_configs_path: str | None = None
    cache_path: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    pin_core: int | None = None
    emulate_speed: float | None = None
    memory_limit_bytes: int | None = None
    offload: str = "never"
    bind_address: str = "127.0.0.1"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerSettings:
        """Reads what ``to_json`` wrote.

        Raises:
            TypeError: a name is unknown or missing.
        """
        return cls(**json.loads(text))
