"""A described fleet as the text of a ``fleet.toml``; ``fleet_file`` reads it back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import isfinite

from polyrhythm_coordinator.simulation.fleet_files.description import COSTS, DeviceDescription, FleetDescription


def fleet_text(fleet: FleetDescription, *, origin: str) -> str:
    """Writes a fleet down.

    Args:
        fleet: to write.
        origin: one line that says where the figures come from.
    """
    return "".join(f"{line}\n" for line in _lines(fleet, origin))


def _lines(fleet: FleetDescription, origin: str) -> Iterator[str]:
    fastest = min(fleet.devices, key=lambda device: device.fixed_s + device.per_row_s)
    yield f"# {origin}"
    yield "# docs/simulate.md explains every field. Change what you like: this is how other fleets are asked about."
    yield from table_lines("[model]", asdict(fleet.facts))
    base = {"width_px": fleet.workload.width_px, "height_px": fleet.workload.height_px, "batch": fleet.workload.batch}
    yield from table_lines("[base]", {**base, **_costs(fastest)})
    yield from table_lines("[default_link]", asdict(fleet.default_link))
    yield from table_lines("[control]", asdict(fleet.control))
    for device in fleet.devices:
        yield from table_lines("[[device]]", _device(device))
    for (sender, receiver), link in fleet.links.items():
        yield from table_lines("[[link]]", {"between": [sender, receiver], "one_way": True, **asdict(link)})


def _device(device: DeviceDescription) -> dict[str, object]:
    held: dict[str, object] = {"name": device.agent, "kind": device.kind, "memory_bytes": device.memory_bytes}
    held |= {name: value for name, value in asdict(device.origin).items() if value}
    held |= _costs(device)
    if device.alone is not None:
        held |= {"alone_fixed_s": device.alone.fixed_s, "alone_per_row_s": device.alone.per_row_s}
    if device.course.changes:
        held["load"] = [{"at_s": at_s, "speed": speed} for at_s, speed in device.course.changes]
    if isfinite(device.course.ends_s):
        held |= {"dies_at_s": device.course.ends_s, "dies_silently": device.dies_silently}
    if device.joins_at_s:
        held["joins_at_s"] = device.joins_at_s
    if device.drained_at_s is not None:
        held["drained_at_s"] = device.drained_at_s
    return held


def _costs(device: DeviceDescription) -> dict[str, float]:
    return {name: getattr(device, name) for name in COSTS}


def table_lines(header: str, values: Mapping[str, object]) -> Iterator[str]:
    """A table with its header, as lines of TOML."""
    yield ""
    yield header
    for name, value in values.items():
        if value is not None:  # TOML has no word for it: what is not written is not there
            yield f"{name} = {_value(value)}"


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float() | int():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return "{ " + ", ".join(f"{name} = {_value(held)}" for name, held in value.items()) + " }"
        case _:
            raise TypeError(f"TOML has no {type(value).__name__}")
