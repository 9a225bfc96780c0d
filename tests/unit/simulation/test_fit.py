"""A fleet described from a run: of a simulated run, whose truth is known, the truth comes out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import MeasuredLink
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.simulation.fit import fit_fleet
from polyrhythm_coordinator.simulation.fleet_files.description import FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import parse_fleet
from polyrhythm_coordinator.simulation.fleet_files.fleet_text import fleet_text
from polyrhythm_coordinator.simulation.fleet_files.run_report import read_report
from polyrhythm_coordinator.simulation.report.outcome import fastest_alone, simulate
from tests.worlds.simulated_fleets import device, fleet

LINK = Link(latency_s=2e-4, bytes_per_s=5e8, handling_s=1e-4, handling_s_per_byte=1e-10)
REQUEST = ImageRequest(prompt="simulated")


def report_of(described: FleetDescription, folder: Path, *, profile_error: float = 1.0, links: bool = True) -> Path:
    """What ``generate --json`` would have printed about a simulated run."""
    outcome = simulate(described, REQUEST)
    (run,) = outcome.reports
    explanation = outcome.explanations[0]
    image = outcome.image
    profiles = [
        replace(
            held,
            fixed_s=held.fixed_s * profile_error,
            per_row_s=held.per_row_s * profile_error,
            alone=held.alone and held.alone.scaled(profile_error),
        )
        for held in explanation.profiles
    ]
    names = [held.agent for held in described.devices]
    measured = [
        MeasuredLink(sender=one, receiver=other, link=described.link(one, other))
        for one in names
        for other in names
        if one != other and links
    ]
    document: dict[str, Any] = {
        "width_px": image.width_px,
        "height_px": image.height_px,
        "steps": image.steps,
        "guidance": image.guidance,
        "sampler": image.sampler,
        "quality": image.quality,
        "seconds": {"encode": run.encode_s, "denoise": run.denoise_s, "decode": run.decode_s},
        "segments": [asdict(segment) for plan in run.plans for segment in plan.segments],
        "agents": [asdict(usage) for usage in run.agents],
        "measured": {
            "model": asdict(described.facts),
            "profiles": [asdict(held) for held in profiles],
            "links": [asdict(held) for held in measured],
            "devices": [
                {
                    "agent": held.agent,
                    "card": f"card of {held.agent}",
                    "kind": "cpu",
                    "host": "box",
                    "dtype": "float32",
                    "emulated_speed": 0.5,
                    "memory_bytes": 1 << 33,
                }
                for held in described.devices
            ],
        },
    }
    path = folder / "run.json"
    path.write_text(json.dumps({"images": [document]}), encoding="utf-8")
    return path


def test_the_truth_of_a_run_comes_out(tmp_path: Path) -> None:
    true = fleet(
        device("a", overhead_s=0.004), device("b", speed=0.5, overhead_s=0.002), link=replace(LINK, handling_s=0)
    )
    fit = fit_fleet(read_report(report_of(true, tmp_path, profile_error=1.3)))
    for found, wanted in zip(fit.fleet.devices, true.devices, strict=True):
        assert found.per_row_s == pytest.approx(wanted.per_row_s, rel=0.02)
        assert found.step_overhead_s == pytest.approx(wanted.step_overhead_s, abs=5e-4)
    assert fit.simulated_s == pytest.approx(fit.measured_s, rel=0.01)
    assert fit.notices == ()
    assert fit.fleet.link(true.devices[0].agent, true.devices[1].agent).bytes_per_s == LINK.bytes_per_s


@pytest.mark.parametrize("speed", [0.25, 0.4, 0.8, 1.0])
def test_other_speeds_are_predicted_from_one_run(tmp_path: Path, speed: float) -> None:
    fit = fit_fleet(
        read_report(report_of(fleet(device("a", overhead_s=0.004), device("b", speed=0.5), link=LINK), tmp_path))
    )
    true = fleet(device("a", overhead_s=0.004), device("b", speed=speed), link=LINK)
    first, second = fit.fleet.devices
    asked = replace(
        fit.fleet,
        devices=(
            first,
            replace(second, fixed_s=second.fixed_s * 0.5 / speed, per_row_s=second.per_row_s * 0.5 / speed),
        ),
    )
    found_s = simulate(asked, REQUEST).reports[0].denoise_s
    assert found_s == pytest.approx(simulate(true, REQUEST).reports[0].denoise_s, rel=0.05)


def test_a_run_without_links_is_fitted_with_an_assumed_one_and_says_so(tmp_path: Path) -> None:
    fit = fit_fleet(read_report(report_of(fleet(device("a"), device("b"), link=LINK), tmp_path, links=False)))
    (notice,) = fit.notices
    for way in ("--count 2", "polyrhythm up"):
        assert way in notice


def test_a_device_that_took_no_part_is_named(tmp_path: Path) -> None:
    fit = fit_fleet(read_report(report_of(fleet(device("a"), device("b", speed=0.01)), tmp_path)))
    assert any("b took no part" in notice for notice in fit.notices)


@pytest.mark.parametrize(
    ("text", "told"),
    [("nonsense", "cannot be read"), ("{}", "measured"), ('{"images": [{"steps": 3}]}', "width_px"), ("[]", "report")],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=told) as caught:
        read_report(path)
    assert {violation.field for violation in caught.value.violations} == {"fit"}


@pytest.mark.parametrize("written", [True, "1", 10**400], ids=["true", "a text", "too many bits"])
@pytest.mark.parametrize("place", [("steps",), ("seconds", "encode"), ("measured", "profiles", 0, "samples")])
def test_a_figure_that_is_no_number_is_named(tmp_path: Path, place: tuple[str | int, ...], written: object) -> None:
    path = report_of(fleet(device("a"), device("b")), tmp_path)
    document = json.loads(path.read_text())
    held = document["images"][0]
    for part in place[:-1]:
        held = held[part]
    held[place[-1]] = written
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidArgumentError) as caught:
        read_report(path)
    (found,) = caught.value.violations
    assert found.description.startswith(".".join(map(str, place)) + ": ")


@pytest.mark.parametrize("listed", ["agents", "segments", "measured.profiles", "measured.devices", "measured.links"])
def test_more_of_a_fleet_than_there_can_be_is_refused(tmp_path: Path, listed: str) -> None:
    path = report_of(fleet(device("a"), device("b")), tmp_path)
    document = json.loads(path.read_text())
    *above, name = listed.split(".")
    held = document["images"][0]
    for part in above:
        held = held[part]
    held[name] = held[name][:1] * (70_000 if name == "links" else 1001)
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidArgumentError, match=f"{listed}: Tuple should have at most"):
        read_report(path)


def test_what_the_devices_are_is_written_down(tmp_path: Path) -> None:
    described = fit_fleet(read_report(report_of(fleet(device("a"), device("b")), tmp_path))).fleet
    text = fleet_text(described, origin="Fitted.")
    for line in ('card = "card of a"', 'host = "box"', 'dtype = "float32"', "emulated_speed = 0.5", 'kind = "cpu"'):
        assert line in text.splitlines()
    read = parse_fleet(text).devices[1]
    assert (read.origin, read.memory_bytes) == (described.devices[1].origin, 1 << 33)
    assert read.facts.name == "simulated card of b"


def test_devices_of_a_host_slow_each_other_down_in_a_fitted_fleet_too(tmp_path: Path) -> None:
    true = fleet(device("a", host="box"), device("b", speed=0.8, host="box"), link=replace(LINK, handling_s=0))
    fit = fit_fleet(read_report(report_of(true, tmp_path, profile_error=1.3)))
    for found, wanted in zip(fit.fleet.devices, true.devices, strict=True):
        assert found.alone is not None
        assert wanted.alone is not None
        assert found.per_row_s == pytest.approx(wanted.per_row_s, rel=0.02)
        assert found.alone.per_row_s == pytest.approx(wanted.alone.per_row_s, rel=0.02)
    assert parse_fleet(fleet_text(fit.fleet, origin="Fitted.")) == fit.fleet
    alone, found = fastest_alone(true, REQUEST), fastest_alone(fit.fleet, REQUEST)
    assert alone is not None
    assert found is not None
    assert (found.agent, found.total_s) == ("a", pytest.approx(alone.total_s, rel=0.03))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("steps",), 5, "segments"),
        (("seconds", "denoise"), 1e308, "seconds.denoise"),
        (("agents", 0, "busy_s"), 1e30, "agents.0.busy_s"),
        (("agents", 0, "agent"), "nobody", "agents"),
        (("measured", "model", "row_unit_px"), 0, "measured.model.row_unit_px"),
        (("measured", "model", "exchanged", 0, "cell_bytes"), 10**30, "measured.model.exchanged.0.cell_bytes"),
        (("measured", "profiles", 0, "agent"), "nobody", "measured.profiles"),
        (("measured", "profiles", 0, "decode_s"), 1e30, "measured.profiles[0].decode_s"),
        (("measured", "profiles", 0, "workload", "batch"), 0, "measured.profiles[0].workload"),
        (("measured", "links", 0, "link", "bytes_per_s"), 0, "measured.links[0].link.bytes_per_s"),
    ],
)
def test_figures_that_no_run_has_are_refused_by_name(
    path: tuple[str | int, ...], value: object, named: str, tmp_path: Path
) -> None:
    file = report_of(fleet(device("a"), device("b", speed=0.5)), tmp_path)
    document = json.loads(file.read_text())
    part = document["images"][0]
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(InvalidArgumentError) as caught:
        fit_fleet(read_report(file))
    assert any(found.description.startswith(f"{named}: ") for found in caught.value.violations)


def test_images_that_are_no_list_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"images": {"a": 1}}')
    with pytest.raises(InvalidArgumentError):
        read_report(file)
