"""Options of the simulator: what goes together, and that none is ignored."""

from __future__ import annotations

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_coordinator.simulation.command_line import OF_PICTURES, SOURCES, check_options, option_parser

DESCRIBING = ("--fit", "run.json", "--output", "fleet.toml")
VALUES = {"sampler": "ddim", "quality": "fast", "objective": "latency", "gantt": "chart.png"}


def refused(*arguments: str) -> set[str]:
    with pytest.raises(InvalidArgumentError) as caught:
        check_options(option_parser().parse_args(arguments))
    return {violation.field for violation in caught.value.violations}


@pytest.mark.parametrize("name", OF_PICTURES)
def test_what_says_how_pictures_are_made_is_refused_by_name_where_none_is(name: str) -> None:
    shown = "size" if name in {"width", "height"} else name.replace("_", "-")
    assert refused(*DESCRIBING, f"--{name.replace('_', '-')}={VALUES.get(name, '1')}") == {shown}


def test_every_option_is_a_source_or_has_its_rule() -> None:
    known = {*SOURCES, *OF_PICTURES, "model_preset", "output", "help"}
    assert {action.dest for action in option_parser()._actions} == known


def test_sources_go_alone_and_bring_what_they_need() -> None:
    assert refused() == refused("--devices", "a", "--cards", "t4") == {"devices"}
    assert refused("--cards", "t4") == refused("--devices", "a", "--model-preset", "sdxl") == {"model-preset"}
    assert refused("--fit", "run.json") == refused("--devices", "a", "--output", "b") == {"output"}
    check_options(option_parser().parse_args(["--cards", "t4", "--model-preset", "sdxl", "--output", "b"]))
    check_options(option_parser().parse_args(DESCRIBING))
