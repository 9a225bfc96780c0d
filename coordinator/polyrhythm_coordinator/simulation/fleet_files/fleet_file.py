"""``fleet.toml``: its tables, and what is told about one that is wrong. The schema is explained in docs/simulate.md."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from itertools import islice
from math import inf
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from polyrhythm.codec.bounds import (
    BYTES_MAX,
    BYTES_PER_S_MAX,
    BYTES_PER_S_MIN,
    MEMBERS_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    SECONDS_PER_BYTE_MAX,
    SIDE_PX_MAX,
    TOLD_CHARACTERS,
)
from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceKind, ModelFacts
from polyrhythm.plan.profile import ForwardLine, Link, Workload
from polyrhythm.process.named_file import read_named_text
from polyrhythm_coordinator.simulation.fleet_files.description import (
    COSTS,
    ControlCosts,
    DeviceDescription,
    DeviceOrigin,
    FleetDescription,
)
from polyrhythm_coordinator.simulation.fleet_files.kinds import Location, mistaken
from polyrhythm_coordinator.simulation.fleet_files.possible import impossible_model
from polyrhythm_coordinator.simulation.fleet_files.speed_course import SpeedCourse

_TABLE = re.compile(r"^\s*\[{1,2}\s*(?P<name>[A-Za-z_]+)\s*\]{1,2}")

FLEET_BYTES_MAX = 4 << 20
"""Links between hundreds of devices and a dozen calibrations; it takes seconds to be taken apart."""
KEY_PARTS_MAX = 32
"""Of a key with dots between. The reader of TOML takes the square of their number; no table here lies deeper than 3."""
_DEEP_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % KEY_PARTS_MAX  # noqa: UP031 - braces
)
CONTROL_SECONDS_MAX = 3600.0
"""All the while that a plan is searched, agents send their heartbeats, and the simulator follows each."""
LOADS_MAX = 1024
"""Of one device."""
FAULTS_TOLD_MAX = 20

# What an agent could not say of itself is no device, and what could be said is safe to compute with.
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(ge=SECONDS_MIN, le=SECONDS_MAX, allow_inf_nan=False)]
ControlSeconds = Annotated[float, Field(ge=0, le=CONTROL_SECONDS_MAX, allow_inf_nan=False)]
Speed = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0, le=SIDE_PX_MAX)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseTable(_Table):
    """``[base]``: what a device of speed 1 takes, and for which picture."""

    width_px: Pixels
    height_px: Pixels
    batch: int = Field(default=2, ge=1, le=2)
    fixed_s: Seconds
    per_row_s: PositiveSeconds
    encode_s: Seconds = 0.0
    decode_s: Seconds = 0.0
    step_overhead_s: Seconds = 0.0


class LoadEntry(_Table):
    """From ``at_s`` on, this share of the device's speed is left to the picture."""

    at_s: Seconds
    speed: Speed


class DeviceTable(_Table):
    """``[[device]]``: one device; costs that it does not name are the base's over its speed."""

    name: str = Field(min_length=1, max_length=64)
    speed: Speed = 1.0
    fixed_s: Seconds | None = None
    per_row_s: PositiveSeconds | None = None
    encode_s: Seconds | None = None
    decode_s: Seconds | None = None
    step_overhead_s: Seconds | None = None
    alone_fixed_s: Seconds | None = None
    alone_per_row_s: PositiveSeconds | None = None
    memory_bytes: int = Field(default=16 << 30, gt=0, le=BYTES_MAX)
    kind: DeviceKind = DeviceKind.CUDA
    load: tuple[LoadEntry, ...] = Field(default=(), max_length=LOADS_MAX)
    joins_at_s: Seconds = 0.0
    drained_at_s: Seconds | None = None
    dies_at_s: Seconds | None = None
    dies_silently: bool = False
    card: str = ""
    host: str = ""
    dtype: str = ""
    emulated_speed: float | None = Field(default=None, gt=0, le=1)


class LinkCosts(_Table):
    """``[default_link]``."""

    latency_s: Seconds
    bytes_per_s: float = Field(ge=BYTES_PER_S_MIN, le=BYTES_PER_S_MAX)
    handling_s: Seconds = 0.0
    handling_s_per_byte: float = Field(default=0.0, ge=0, le=SECONDS_PER_BYTE_MAX)


class LinkTable(LinkCosts):
    """``[[link]]``: of one pair, both ways; from the first to the second only where ``one_way``."""

    between: tuple[str, str]
    one_way: bool = False


class ControlTable(_Table):
    """``[control]``: what coordination takes."""

    message_s: ControlSeconds = ControlCosts().message_s
    plan_s: ControlSeconds = ControlCosts().plan_s
    form_gang_s: ControlSeconds = ControlCosts().form_gang_s
    profile_s: ControlSeconds = ControlCosts().profile_s


def _model_table() -> type[BaseModel]:
    """``[model]`` holds exactly what an agent reports of its model."""
    hints = get_type_hints(ModelFacts)
    held: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is MISSING else each.default) for each in fields(ModelFacts)
    }
    return create_model("ModelTable", __base__=_Table, **held)


class FleetTables(_Table):
    """The whole file."""

    model: _model_table()  # pyright: ignore[reportInvalidTypeForm] - made from the dataclass, so that they never differ
    base: BaseTable
    default_link: LinkCosts
    device: tuple[DeviceTable, ...] = Field(min_length=1, max_length=MEMBERS_MAX)
    link: tuple[LinkTable, ...] = Field(default=(), max_length=MEMBERS_MAX**2)
    control: ControlTable = ControlTable()


def read_fleet(path: Path) -> FleetDescription:
    """Reads a described fleet.

    Raises:
        InvalidArgumentError: the file cannot be read; or names the fields that are wrong, and the line of their table.
    """
    return parse_fleet(read_named_text(path, "devices", FLEET_BYTES_MAX), origin=str(path))


def parse_fleet(text: str, *, origin: str = "the file") -> FleetDescription:
    """Understands the text of a fleet file.

    Args:
        text: of the file.
        origin: its name in what is told of it.

    Raises:
        InvalidArgumentError: names the fields that are wrong, and the line of their table; of very many the first ones.
    """
    written = _parsed(text, origin)
    try:
        tables = FleetTables.model_validate(written)
    except ValidationError as error:
        faults = ((fault["loc"], _told(fault["type"], fault["msg"])) for fault in error.errors())
        raise _refusal(faults, text, origin) from error
    faults = [*mistaken(written, tables)] or _contradictions(tables)
    if faults:
        raise _refusal(faults, text, origin)
    return _description(tables)


def _parsed(text: str, origin: str) -> dict[str, Any]:
    """The text as TOML, whatever it means.

    Raises:
        InvalidArgumentError: it is none.
    """
    if _DEEP_KEY.search(text):
        raise InvalidArgumentError.of("devices", f"{origin} cannot be read: a key has over {KEY_PARTS_MAX} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise InvalidArgumentError.of("devices", f"{origin} cannot be read: it is nested too deeply") from error
    except ValueError as error:  # a TOMLDecodeError, or an integer that Python does not convert
        raise InvalidArgumentError.of("devices", f"{origin} is no TOML: {error}") from error


def _refusal(faults: Iterable[tuple[Location, str]], text: str, origin: str) -> InvalidArgumentError:
    """What to say of locations and what is wrong with each."""
    listed = iter(faults)
    lines = text.splitlines()
    told = [_violation(location, fault, lines, origin) for location, fault in islice(listed, FAULTS_TOLD_MAX)]
    further = sum(1 for _ in listed)
    if further:
        told.append(FieldViolation(field=f"devices: {origin}", description=f"{further} further fields are wrong"))
    return InvalidArgumentError(*told)


def _contradictions(tables: FleetTables) -> list[tuple[Location, str]]:
    """What is wrong between fields that are each right."""
    found: list[tuple[Location, str]] = []
    names = [device.name for device in tables.device]
    for index, device in enumerate(tables.device):
        if device.name in names[:index]:
            found.append((("device", index, "name"), f"{device.name!r} is taken by another device"))
        times = [entry.at_s for entry in device.load]
        if times != sorted(set(times)):
            found.append((("device", index, "load"), f"must come in ascending order of at_s, got {times}"))
        for name in ("dies_at_s", "drained_at_s"):
            at_s = getattr(device, name)
            if at_s is not None and at_s <= device.joins_at_s:
                found.append((("device", index, name), f"{at_s:g} is not after joins_at_s, {device.joins_at_s:g}"))
        found += [(("device", index, name), told) for name, told in _contradictions_of_device(device, tables.base)]
    taken: set[tuple[str, str]] = set()
    for index, link in enumerate(tables.link):
        ways = {link.between} if link.one_way else {link.between, link.between[::-1]}
        if ways & taken:
            found.append((("link", index, "between"), f"{' and '.join(link.between)} have a link already"))
        taken |= ways
        unknown = [name for name in link.between if name not in names]
        if unknown or link.between[0] == link.between[1]:
            told = f"must name two devices of {', '.join(names)}, got {', '.join(link.between)}"
            found.append((("link", index, "between"), told))
    found += [(tuple(path.split(".")), told) for path, told in impossible_model(_facts(tables.model))]
    if all(device.joins_at_s > 0 for device in tables.device):
        found.append((("device", 0, "joins_at_s"), "at least one device must be there from the start"))
    return found


def _facts(table: BaseModel) -> ModelFacts:
    return ModelFacts(**{each.name: getattr(table, each.name) for each in fields(ModelFacts)})


def _contradictions_of_device(device: DeviceTable, base: BaseTable) -> Iterator[tuple[str, str]]:
    for name in COSTS:
        cost_s = _cost_s(device, base, name)
        if cost_s > SECONDS_MAX or (name == "per_row_s" and cost_s < SECONDS_MIN):
            yield "speed", f"the base's {name} over it is {cost_s:g}, beyond what can be measured"
    if device.dies_silently and device.dies_at_s is None:
        yield "dies_silently", "says how, and dies_at_s, which says when, is missing"
    alone = (("alone_fixed_s", device.alone_fixed_s), ("alone_per_row_s", device.alone_per_row_s))
    given = [name for name, value in alone if value is not None]
    if len(given) == 1:
        yield given[0], "needs the other one of alone_fixed_s and alone_per_row_s"
    elif given and not device.host:
        yield given[0], "needs host, which says what other devices slow this one down"


def _description(tables: FleetTables) -> FleetDescription:
    base = tables.base
    facts = _facts(tables.model)
    links: dict[tuple[AgentId, AgentId], Link] = {}
    for table in tables.link:
        one, other = (AgentId(name) for name in table.between)
        links[one, other] = _link(table)
        if not table.one_way:
            links[other, one] = _link(table)
    return FleetDescription(
        facts=facts,
        workload=Workload(model=facts.name, width_px=base.width_px, height_px=base.height_px, batch=base.batch),
        devices=tuple(_device(device, base) for device in tables.device),
        default_link=_link(tables.default_link),
        links=links,
        control=ControlCosts(**tables.control.model_dump()),
    )


def _device(table: DeviceTable, base: BaseTable) -> DeviceDescription:
    costs_s = {name: _cost_s(table, base, name) for name in COSTS}
    alone = None
    if table.alone_fixed_s is not None and table.alone_per_row_s is not None:
        alone = ForwardLine(fixed_s=table.alone_fixed_s, per_row_s=table.alone_per_row_s)
    return DeviceDescription(
        agent=AgentId(table.name),
        alone=alone,
        **costs_s,
        memory_bytes=table.memory_bytes,
        kind=table.kind,
        course=SpeedCourse(
            changes=tuple((entry.at_s, entry.speed) for entry in table.load),
            ends_s=inf if table.dies_at_s is None else table.dies_at_s,
        ),
        joins_at_s=table.joins_at_s,
        dies_silently=table.dies_silently,
        drained_at_s=table.drained_at_s,
        origin=DeviceOrigin(card=table.card, host=table.host, dtype=table.dtype, emulated_speed=table.emulated_speed),
    )


def _cost_s(table: DeviceTable, base: BaseTable, name: str) -> float:
    own = getattr(table, name)
    return getattr(base, name) / table.speed if own is None else own


def _link(table: LinkCosts) -> Link:
    return Link(
        latency_s=table.latency_s,
        bytes_per_s=table.bytes_per_s,
        handling_s=table.handling_s,
        handling_s_per_byte=table.handling_s_per_byte,
    )


def _told(kind: str, message: str) -> str:
    return "is no field of this table" if kind == "extra_forbidden" else message


def _violation(location: Location, told: str, lines: Sequence[str], origin: str) -> FieldViolation:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:TOLD_CHARACTERS]}" for part in location)
    path = "".join(parts).removeprefix(".")
    line = _line_of_table(location, lines)
    where = "" if line is None else f" (table at line {line})"
    return FieldViolation(field=f"devices: {origin}: {path}{where}", description=told)


def _line_of_table(location: Sequence[int | str], lines: Sequence[str]) -> int | None:
    """Line on which the table begins that holds a field; None where it is missing or written in line."""
    if not location:
        return None
    index = location[1] if len(location) > 1 and isinstance(location[1], int) else 0
    found = (number for number, line in enumerate(lines, start=1) if _name_on(line) == location[0])
    return next(islice(found, index, None), None)


def _name_on(line: str) -> str | None:
    found = _TABLE.match(line)
    return found["name"] if found else None
