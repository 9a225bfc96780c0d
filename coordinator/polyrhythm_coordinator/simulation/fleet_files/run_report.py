"""What ``polyrhythm generate --json`` printed, as far as a fleet can be described from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from polyrhythm.codec.bounds import MEMBERS_MAX, SECONDS_MAX
from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.job.image import STEPS_MAX, Quality
from polyrhythm.model.facts import DeviceKind, ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.explanation import MeasuredLink
from polyrhythm.plan.plan import Segment
from polyrhythm.plan.profile import Profile
from polyrhythm.process.named_file import read_named_text
from polyrhythm_coordinator.simulation.fleet_files.kinds import Location, mistaken
from polyrhythm_coordinator.simulation.fleet_files.possible import impossible_link, impossible_model, impossible_profile

REPORT_BYTES_MAX = 16 << 20
"""Hundreds of pictures of a large fleet."""
FAULTS_TOLD_MAX = 20

Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RunSeconds(_Part):
    """Measured wall seconds."""

    encode: Seconds
    denoise: float = Field(gt=0, le=SECONDS_MAX)
    decode: Seconds


class RunAgent(_Part):
    """One device's share of the run."""

    agent: str
    steps: int = Field(ge=0)
    busy_s: Seconds
    wait_s: Seconds


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
    profiles: tuple[Profile, ...] = Field(min_length=1, max_length=MEMBERS_MAX)
    links: tuple[MeasuredLink, ...] = Field(max_length=MEMBERS_MAX**2)
    devices: tuple[RunDevice, ...] = Field(default=(), max_length=MEMBERS_MAX)


class RunReport(_Part):
    """One picture of a run."""

    width_px: int
    height_px: int
    steps: int
    guidance: float
    sampler: Sampler
    quality: Quality
    seconds: RunSeconds
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=STEPS_MAX)
    agents: tuple[RunAgent, ...] = Field(min_length=1, max_length=MEMBERS_MAX)
    measured: RunFleet


_REPORT = TypeAdapter(RunReport)


def read_report(path: Path) -> RunReport:
    """Reads a report; of several pictures the last one, since links are measured when the first one's gang forms.

    Raises:
        InvalidArgumentError: it cannot be read, or names the fields that are missing or wrong.
    """
    text = read_named_text(path, "fit", REPORT_BYTES_MAX)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError.of("fit", f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise InvalidArgumentError.of("fit", f"{path} cannot be read: it is nested too deeply") from error
    return parse_report(document)


def parse_report(document: object) -> RunReport:
    """Understands a report, or the last one of several pictures.

    Raises:
        InvalidArgumentError: names the fields that are missing or wrong; of very many the first ones.
    """
    images = document.get("images") if isinstance(document, dict) else None
    if isinstance(images, list) and images:
        document = images[-1]
    try:
        report = _REPORT.validate_python(document)
    except ValidationError as error:
        faults = error.errors()[:FAULTS_TOLD_MAX]
        raise InvalidArgumentError(*(_violation(_path(fault["loc"]), fault["msg"]) for fault in faults)) from error
    faults = [(_path(location), told) for location, told in mistaken(document, report)] or [*_impossible(report)]
    if faults:
        raise InvalidArgumentError(*(_violation(path, told) for path, told in faults[:FAULTS_TOLD_MAX]))
    return report


def _path(location: Location) -> str:
    return ".".join(map(str, location)) or "the report"


def _impossible(report: RunReport) -> Iterator[tuple[str, str]]:
    """What no run can have printed, field by field and between fields."""
    fleet = report.measured
    for path, told in impossible_model(fleet.model):
        yield f"measured.{path}", told
    for index, profile in enumerate(fleet.profiles):
        yield from impossible_profile(profile, f"measured.profiles[{index}]")
        workload = profile.workload
        if min(workload.width_px, workload.height_px, workload.batch) < 1:
            yield f"measured.profiles[{index}].workload", "must be of at least one pixel"
    for index, held in enumerate(fleet.links):
        yield from impossible_link(held, f"measured.links[{index}]")
    members = {agent for segment in report.segments for agent in segment.agents}
    for path, named in (
        ("agents", {agent.agent for agent in report.agents}),
        ("measured.profiles", {profile.agent for profile in fleet.profiles}),
    ):
        if missing := sorted(members - named):
            yield path, f"say nothing of {', '.join(missing)}, which the segments name"


def _violation(path: str, told: str) -> FieldViolation:
    return FieldViolation(field="fit", description=f"{path}: {told}")
