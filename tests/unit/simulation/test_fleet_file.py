"""``fleet.toml``: read, refused with field and line, written and read again."""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.simulation.fleet_files.description import ControlCosts, FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import parse_fleet, read_fleet
from polyrhythm_coordinator.simulation.fleet_files.fleet_text import fleet_text
from tests.worlds.simulated_fleets import EXAMPLE, device, fleet

TEXT = EXAMPLE.read_text(encoding="utf-8")


def line_of(header: str, nth: int = 0) -> int:
    return [number for number, line in enumerate(TEXT.splitlines(), start=1) if line.startswith(header)][nth]


def test_the_example_is_understood() -> None:
    described = read_fleet(EXAMPLE)
    big, middle, small, tiny = described.devices
    assert (big.per_row_s, middle.per_row_s) == (0.0077, pytest.approx(0.0077 / 0.6))
    assert middle.course.changes == ((0.5, 0.4),)
    assert (small.course.ends_s, small.memory_bytes, tiny.course.ends_s) == (1.2, 8_000_000_000, inf)
    assert described.link(big.agent, small.agent) == described.link(small.agent, big.agent)
    assert described.link(big.agent, middle.agent) == described.default_link


@pytest.mark.parametrize(
    ("before", "after", "field", "line"),
    [
        ("speed = 0.6", "speed = -1", "device[1].speed", line_of("[[device]]", 1)),
        ("decode_s", "decodes_s", "base.decodes_s", line_of("[base]")),
        ("latency_s = 0.0008", "", "link[0].latency_s", line_of("[[link]]")),
        ('name = "small"', 'name = "middle"', "device[2].name", line_of("[[device]]", 2)),
        ('"big", "small"]', '"big", "nobody"]', "link[0].between", line_of("[[link]]")),
        ("at_s = 0.5, speed = 0.4", "at_s = 0.5, speed = 0", "device[1].load[0].speed", line_of("[[device]]", 1)),
        (
            "[{ at_s = 0.5, speed = 0.4 }]",
            "[{ at_s = 2, speed = 0.4 }, { at_s = 1, speed = 1 }]",
            "device[1].load",
            line_of("[[device]]", 1),
        ),
        ("dies_at_s = 1.2", "dies_at_s = 1.2\njoins_at_s = 2.0", "device[2].dies_at_s", line_of("[[device]]", 2)),
        ("dies_at_s = 1.2", "dies_silently = true", "device[2].dies_silently", line_of("[[device]]", 2)),
        ("speed = 0.02", "speed = 1e-320", "device[3].speed", line_of("[[device]]", 3)),
        ("decode_s = 0.12", "decode_s = 1e6", "device[1].speed", line_of("[[device]]", 1)),
        ("per_row_s = 0.0077", "per_row_s = 1e300", "base.per_row_s", line_of("[base]")),
        ("bytes_per_s = 2.5e8", "bytes_per_s = 5e-324", "link[0].bytes_per_s", line_of("[[link]]")),
        ("row_unit_px = 8", "row_unit_px = 0", "model.row_unit_px", line_of("[model]")),
        ("cell_px = 8", "cell_px = 0", "model.exchanged[0].cell_px", line_of("[model]")),
        ("weights_bytes = 36088604", f"weights_bytes = {10**30}", "model.weights_bytes", line_of("[model]")),
        ("layers = 6", "layers = 1000000000", "model.exchanged", line_of("[model]")),
        (
            "bytes_per_s = 2.5e8",
            'bytes_per_s = 2.5e8\n[[link]]\nbetween = ["small", "big"]\nlatency_s = 1\nbytes_per_s = 1',
            "link[1].between",
            len(TEXT.splitlines()) + 1,
        ),
        ("speed = 0.6", "speed = 0.6\nalone_fixed_s = 0", "device[1].alone_fixed_s", line_of("[[device]]", 1)),
        (
            "speed = 0.6",
            "speed = 0.6\nalone_fixed_s = 0\nalone_per_row_s = 1",
            "device[1].alone_fixed_s",
            line_of("[[device]]", 1),
        ),
        ("layers = 6", "layers = 'six'", "model.exchanged[0].layers", line_of("[model]")),
        ("fixed_s = 0.012", "fixed_s = nan", "base.fixed_s", line_of("[base]")),
        ("fixed_s = 0.012", "fixed_s = true", "base.fixed_s", line_of("[base]")),
        ("speed = 0.6", "speed = true", "device[1].speed", line_of("[[device]]", 1)),
        ("speed = 0.6", 'speed = "0.6"', "device[1].speed", line_of("[[device]]", 1)),
        ("at_s = 0.5, speed = 0.4", "at_s = 0.5, speed = true", "device[1].load[0].speed", line_of("[[device]]", 1)),
        ("dies_at_s = 1.2", "dies_at_s = true", "device[2].dies_at_s", line_of("[[device]]", 2)),
        ("dies_at_s = 1.2", "dies_at_s = 1.2\ndies_silently = 1", "device[2].dies_silently", line_of("[[device]]", 2)),
        ("default_steps = 20", "default_steps = true", "model.default_steps", line_of("[model]")),
        ("cell_px = 8", "cell_px = true", "model.exchanged[0].cell_px", line_of("[model]")),
        ("layers = 6", f"layers = 0x{'f' * 50_000}", "model.exchanged[0].layers", line_of("[model]")),
        ("[base]", "[control]\nplan_s = 3601\n[base]", "control.plan_s", line_of("[base]")),
    ],
)
def test_what_is_wrong_is_named_with_its_line(before: str, after: str, field: str, line: int) -> None:
    assert before in TEXT
    with pytest.raises(InvalidArgumentError) as caught:
        parse_fleet(TEXT.replace(before, after), origin="my.toml")
    assert f"my.toml: {field} (table at line {line})" in [
        violation.field.removeprefix("devices: ") for violation in caught.value.violations
    ]


def test_a_missing_table_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="default_link"):
        parse_fleet(TEXT.replace("[default_link]", "[control]").replace("latency_s = 0.0002\nbytes_per_s = 1.0e9", ""))


def test_a_field_that_no_table_has_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(TEXT.replace("[base]", "[base]\nfixd_s = 1"), encoding="utf-8")
    with pytest.raises(InvalidArgumentError) as caught:
        read_fleet(file)
    told = f"devices: {file}: base.fixd_s (table at line {line_of('[base]')}): is no field of this table"
    assert str(caught.value) == told


def test_a_file_that_is_missing_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_fleet(tmp_path / "none.toml")
    assert str(caught.value) == f"devices: {tmp_path / 'none.toml'} cannot be read: No such file or directory"


def test_text_that_is_no_toml_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidArgumentError, match="line 2"):
        parse_fleet("[model]\na = = 1\n")


MANY = 50_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{'a.' * MANY}a = 1\n{TEXT}", "a key has over 32 parts"),
        (f"[{'a . ' * MANY}a]\n{TEXT}", "a key has over 32 parts"),
        (TEXT + "[x]\ny = { " + '"a".' * MANY + "a = 1 }", "a key has over 32 parts"),
        (TEXT.replace("[base]", "[base]\n" + "".join(f"k{i} = 1\n" for i in range(MANY))), "49980 further fields"),
        ("".join(f"a.k{i} = 1\n" for i in range(MANY)) + TEXT, "is no field of this table"),
        (TEXT + "".join(f'[[device]]\nname = "{i}"\n' for i in range(MANY)), "at most 256 items"),
        (TEXT.replace("load = [", "load = [" + "{ at_s = 0.1, speed = 1 }, " * MANY), "at most 1024 items"),
        (TEXT.replace("layers = 6", f"layers = {'9' * 5000}"), "is no TOML: Exceeds the limit"),
        (TEXT.replace("[base]", f"[base]\n{'k' * MANY} = 1"), f"base.{'k' * 64} (table at line"),
    ],
    ids=["key", "header", "inline", "fields", "dotted", "devices", "loads", "digits", "name"],
)
def test_what_is_far_too_much_is_refused_and_soon(text: str, told: str) -> None:
    """Each would take minutes, tell thousands of lines, or end in what Python says of itself."""
    begun_s = time.process_time()
    with pytest.raises(InvalidArgumentError) as caught:
        parse_fleet(text)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 5000
    assert time.process_time() - begun_s < 15.0


def test_as_many_parts_of_a_key_as_anybody_writes_are_read() -> None:
    with pytest.raises(InvalidArgumentError, match="a: is no field of this table"):
        parse_fleet(f"{'a.' * 30}a = 1\n{TEXT}")
    many = f"{'1.5, ' * 100}{'a.b, ' * 100}"
    assert parse_fleet(f"# {many}\n{TEXT}") == parse_fleet(TEXT)


seconds = st.floats(0, 10)
shares = st.floats(1e-6, 1e6)
rates = st.floats(1.0, 1e15)


@st.composite
def fleets(draw: st.DrawFn) -> FleetDescription:
    devices = tuple(
        replace(
            device(
                f"gpu {index}",
                speed=draw(st.floats(0.1, 2)),
                load=tuple((at_s, draw(shares)) for at_s in sorted(draw(st.sets(seconds, max_size=3)))),
                dies_at_s=draw(st.sampled_from([inf, 99.5])),
                joins_at_s=0.0 if index == 0 else draw(seconds),
                drained_at_s=draw(st.sampled_from([None, 50.0])),
            ),
            step_overhead_s=draw(seconds),
            memory_bytes=draw(st.integers(1, 1 << 40)),
        )
        for index in range(draw(st.integers(1, 4)))
    )
    links = st.builds(
        Link, latency_s=seconds, bytes_per_s=rates, handling_s=seconds, handling_s_per_byte=st.floats(0, 1)
    )
    names = [held.agent for held in devices]
    pairs = [(one, other) for one in names for other in names if one != other]
    held = {pair: draw(links) for pair in (draw(st.sets(st.sampled_from(pairs))) if pairs else set())}
    control = ControlCosts(
        message_s=draw(seconds), plan_s=draw(seconds), form_gang_s=draw(seconds), profile_s=draw(seconds)
    )
    return replace(fleet(*devices, link=draw(links), control=control), links=held)


@given(fleets())
def test_what_is_written_is_read_again(described: FleetDescription) -> None:
    assert parse_fleet(fleet_text(described, origin="a test")) == described
