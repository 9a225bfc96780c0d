"""The daemon's settings: one frozen object, from the command line and the environment, validated once.

Checks only what can be seen in the values themselves; what needs the machine is in ``preflight``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.ids import check_agent_name
from polyrhythm.model.facts import EMULATED_SPEED_MIN
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm.model.shipped_models import DEFAULT_MODEL
from polyrhythm.process.address import check_address
from polyrhythm.process.environment import Daemon, options_of_variables, read_variables, told_by_variables, variable_of

_SIZE = re.compile(r"(?P<number>[0-9]{1,6}(\.[0-9]{1,3})?) ?(?P<unit>MiB|GiB)")
_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}
_DEVICE = re.compile(r"cpu|cuda:[0-9]{1,3}")


def check_device_name(text: str) -> str:
    """The CPU or a CUDA device by its number.

    Raises:
        ValueError: it is neither.
    """
    if _DEVICE.fullmatch(text) is None:
        raise ValueError("must be cpu or cuda:N, such as cuda:0")
    return text


def parse_size(value: object) -> object:
    """Bytes of a size as it is written, such as ``300MiB``; anything but text is left as it is.

    Raises:
        ValueError: the text is no size.
    """
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be a size such as 300MiB or 8GiB")
    return int(float(found["number"]) * _UNITS[found["unit"]])


class AgentSettings(BaseModel):
    """What one daemon is told. The options of the same names explain each.

    Attributes:
        coordinator: ``HOST:PORT`` or ``unix:/PATH`` to dial.
        name: of the agent, unique in its fleet.
        model: one that ships, a local folder, a checkpoint file, or a model of the hub.
        model_config_folder: configs and tokenizers of a checkpoint file; None to look beside it.
        device: ``cpu`` or ``cuda:N``.
        threads: compute threads of a CPU worker; None for all cores that this process may use, or 1 when pinned.
        pin_core: core that the worker is bound to; None for any.
        emulate_speed: share of the true speed to run at, on a CPU only; None for all of it.
        memory_limit_bytes: what the worker may use at most, weights included; None for all that is free.
        offload: whether the denoiser's weights stay outside of the device's memory.
        dtype: arithmetic of the denoiser, or that the device decides.
        bind_address: local address that carries activations between workers.
        load_timeout_s: how long the worker may load its model, or not get on with a checkpoint that it converts first.
        start_attempts: workers lost in a row before they were ready, after which the daemon ends; None to try for ever.
        connect_timeout_s: how long to look for the coordinator at first; None for ever.
        lifeline_fd: the daemon ends when this pipe does; None for no lifeline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: Annotated[str, AfterValidator(check_address)]
    name: Annotated[str, AfterValidator(check_agent_name)]
    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    model_config_folder: str | None = Field(default=None, min_length=1)
    device: Annotated[str, AfterValidator(check_device_name)] = "cpu"
    threads: int | None = Field(default=None, ge=1)
    pin_core: int | None = Field(default=None, ge=0)
    emulate_speed: float | None = Field(default=None, ge=EMULATED_SPEED_MIN, le=1.0)
    memory_limit_bytes: Annotated[int | None, BeforeValidator(parse_size)] = Field(default=None, ge=1)
    offload: OffloadChoice = OffloadChoice.AUTO
    dtype: DtypeChoice = DtypeChoice.AUTO
    bind_address: str = Field(default="127.0.0.1", min_length=1)
    load_timeout_s: float = Field(default=120.0, gt=0.0)
    start_attempts: int | None = Field(default=None, ge=1)
    connect_timeout_s: float | None = Field(default=None, gt=0.0)
    lifeline_fd: int | None = Field(default=None, ge=0)

    @field_validator("emulate_speed")
    @classmethod
    def _only_a_cpu_is_slowed(cls, speed: float | None, others: ValidationInfo) -> float | None:
        """A CUDA device is not slowed, so it must not be called emulated either."""
        device = others.data.get("device", "cpu")  # absent where it is itself wrong, which is told of it
        if speed not in (None, 1.0) and device != "cpu":
            raise ValueError(f"must be left out with --device {device}: only the speed of a CPU can be emulated")
        return speed


_UNSAID = re.compile("_(s|bytes|folder)$")
OPTIONS = {name: f"--{_UNSAID.sub('', name).replace('_', '-')}" for name in AgentSettings.model_fields}
"""How the command line spells each setting; options leave out what a value is: seconds, a size, a folder."""


def read_settings(options: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> AgentSettings:
    """Settings from options, and from the environment where an option is not given.

    Args:
        options: by the name of the setting.
        environment: of this process.

    Raises:
        InvalidArgumentError: names every option or variable that is wrong, missing or unknown.
    """
    with told_by_variables(Daemon.AGENT, set_by_variables(options, environment)):
        try:
            return AgentSettings(**{**read_variables(environment, Daemon.AGENT, OPTIONS), **options})
        except ValidationError as error:
            faults = ((str(fault["loc"][0]), fault["type"], fault["msg"], fault["input"]) for fault in error.errors())
            raise InvalidArgumentError(*(_violation(*fault) for fault in faults)) from None


def set_by_variables(options: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Options whose values the environment decides.

    Args:
        options: that are given, by the name of the setting.
        environment: of this process.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
    """
    return options_of_variables(environment, Daemon.AGENT, OPTIONS, options)


def _violation(name: str, kind: str, message: str, given: object) -> FieldViolation:
    option = OPTIONS.get(name, name)
    if kind == "missing":
        description = f"is required; give it, or set {variable_of(Daemon.AGENT, option)}"
    else:
        description = f"{message.removeprefix('Value error, ')}; got {given!r}"
    return FieldViolation(field=option, description=description)
