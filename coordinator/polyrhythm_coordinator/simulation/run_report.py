"""What ``polyrhythm generate --json`` printed, as far as a fleet can be described from it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.explanation import MeasuredLink
from polyrhythm.facts import DeviceKind, ModelFacts
from polyrhythm.image import Quality, Sampler
from polyrhythm.plan import Segment
from polyrhythm.profile import Profile


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RunSeconds(_Part):
    """Measured wall seconds."""

    encode: float = Field(ge=0)
    denoise: float = Field(gt=0)
    decode: float = Field(ge=0)


class RunAgent(_Part):
    """One device's share of the run."""

    agent: str
    steps: int = Field(ge=0)
    busy_s: float = Field(ge=0)
    wait_s: float = Field(ge=0)


class RunDevice(_Part):
    """What one device of the fleet is."""

    agent: str
    card: str
    kind: DeviceKind
    host: str
    dtype: str
    emulated_speed: float | None
    memory_bytes: int = Field(gt=0)


class RunFleet(_Part):
    """What the plan rested on."""

    model: ModelFacts
    profiles: tuple[Profile, ...] = Field(min_length=1)
    links: tuple[MeasuredLink, ...]
    devices: tuple[RunDevice, ...] = ()


class RunReport(_Part):
    """One picture of a run."""

    width_px: int
    height_px: int
    steps: int
    guidance: float
    sampler: Sampler
    quality: Quality
    seconds: RunSeconds
    segments: tuple[Segment, ...] = Field(min_length=1)
    agents: tuple[RunAgent, ...] = Field(min_length=1)
    measured: RunFleet


_REPORT = TypeAdapter(RunReport)


def read_report(path: Path) -> RunReport:
    """Reads a report; of several pictures the last one, since links are measured when the first one's gang forms.

    Raises:
        InvalidArgumentError: it cannot be read, or names every field that is missing or wrong.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgumentError.of("fit", f"{path} cannot be read: {why}") from error
    except RecursionError as error:
        raise InvalidArgumentError.of("fit", f"{path} cannot be read: it is nested too deeply") from error
    return parse_report(document)


def parse_report(document: object) -> RunReport:
    """Understands a report, or the last one of several pictures.

    Raises:
        InvalidArgumentError: names every field that is missing or wrong.
    """
    if isinstance(document, dict) and document.get("images"):
        document = document["images"][-1]
    try:
        return _REPORT.validate_python(document)
    except ValidationError as error:
        found = (
            FieldViolation(
                field="fit", description=f"{'.'.join(map(str, fault['loc'])) or 'the report'}: {fault['msg']}"
            )
            for fault in error.errors()
        )
        raise InvalidArgumentError(*found) from error
