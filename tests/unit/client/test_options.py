"""Each option of the picture is written once: it sets one field of a request, in every command that has it."""

from __future__ import annotations

from dataclasses import fields

import pytest
import typer.main

from polyrhythm.job.image import ImageRequest, Overrides
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.main import app
from polyrhythm_client.cli.options import ImageOptions

COMMANDS = typer.main.get_group(app).commands
OPTIONS = {option.name for option in fields(ImageOptions)}
LACKING = {
    "generate": set[str](),
    "plan": {"seed"},
    "simulate": {"prompt", "model", "negative", "long_prompt", "seed"},
}
"""Options of the picture that a command does without, since they change nothing of what it says."""
SET = {
    "prompt": ("red apple", {"prompt"}),
    "model": ("demo", {"model"}),
    "negative": ("blur", {"negative_prompt"}),
    "long_prompt": ("cut", {"long_prompt"}),
    "size": ("64x128", {"width_px", "height_px"}),
    "steps": ("8", {"steps"}),
    "seed": ("3", {"seed"}),
    "guidance": ("2.5", {"guidance"}),
    "sampler": ("ddim", {"sampler"}),
    "quality": ("fast", {"quality"}),
    "objective": ("throughput", {"objective"}),
    "max_stride": ("2", {"overrides.max_stride"}),
    "warmup": ("3", {"overrides.warmup_steps"}),
    "tail": ("2", {"overrides.tail_steps"}),
    "loss_db": ("1.5", {"overrides.loss_db"}),
    "devices": ("local-0,local-1", {"overrides.devices"}),
    "count": ("2", {"count"}),
}
"""A value of each option, and the fields of a request that it sets."""


@pytest.mark.parametrize("command", LACKING)
def test_a_command_has_the_options_of_the_picture_with_their_help(command: str) -> None:
    parameters = {parameter.name: parameter for parameter in COMMANDS[command].params}
    assert OPTIONS - set(parameters) == LACKING[command]
    assert all(parameters[name].help for name in OPTIONS - LACKING[command])  # pyright: ignore[reportAttributeAccessIssue]


def difference(one: ImageRequest | Overrides, other: ImageRequest | Overrides) -> set[str]:
    return {each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)}


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_sets_its_field_of_the_request_and_no_other(option: str) -> None:
    value, expected = SET[option]
    given = [value] if option == "prompt" else [f"--{option.replace('_', '-')}", value]
    parsed = COMMANDS["generate"].make_context("generate", given).params
    request = image_request(ImageOptions(**{"prompt": "p", option: parsed[option]}), None)
    overridden = {f"overrides.{name}" for name in difference(request.overrides, Overrides())}
    assert difference(request, ImageRequest(prompt="p")) - {"overrides"} | overridden == expected


def test_agents_that_may_take_part_are_no_file_of_a_fleet() -> None:
    """Two commands call different things ``devices``."""
    (option,) = [option for option in COMMANDS["simulate"].params if option.name == "devices"]
    assert option.metavar == "FILE"
