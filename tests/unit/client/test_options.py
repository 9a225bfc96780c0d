"""Each option of the picture is written once: it sets one field of a request, in every command that has it."""

from __future__ import annotations

from dataclasses import fields

import pytest
import typer.main

from polyrhythm.job.image import ImageRequest, Overrides
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.main import app
from polyrhythm_client.cli.options import ImageOptions, request_fields

COMMANDS = typer.main.get_group(app).commands
OPTIONS = {option.name for option in fields(ImageOptions)}
LACKING = {
    "generate": set[str](),
    "plan": {"seed"},
    "simulate": {"prompt", "model", "negative", "long_prompt", "seed"},
}
"""Options of the picture that a command does without, since they change nothing of what it says."""
VALUES = {
    "prompt": "red apple",
    "model": "demo",
    "negative": "blur",
    "long_prompt": "cut",
    "size": "64x128",
    "steps": "8",
    "seed": "3",
    "guidance": "2.5",
    "sampler": "ddim",
    "quality": "fast",
    "objective": "throughput",
    "max_stride": "2",
    "warmup": "3",
    "tail": "2",
    "loss_db": "1.5",
    "devices": "local-0,local-1",
    "count": "2",
}


@pytest.mark.parametrize("command", LACKING)
def test_a_command_has_the_options_of_the_picture_with_their_help(command: str) -> None:
    parameters = {parameter.name: parameter for parameter in COMMANDS[command].params}
    assert OPTIONS - set(parameters) == LACKING[command]
    assert all(parameters[name].help for name in OPTIONS - LACKING[command])  # pyright: ignore[reportAttributeAccessIssue]


def difference(one: ImageRequest | Overrides, other: ImageRequest | Overrides) -> set[str]:
    return {each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)}


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_sets_its_field_of_the_request_and_no_other(option: str) -> None:
    command = COMMANDS["generate"]
    given = [VALUES[option]] if option == "prompt" else [f"--{option.replace('_', '-')}", VALUES[option]]
    parsed = command.make_context("generate", given).params
    request = image_request(ImageOptions(**{"prompt": "p", option: parsed[option]}), None)
    changed = difference(request, ImageRequest(prompt="p"))
    path = request_fields()[option]
    assert changed == ({"width_px", "height_px"} if option == "size" else {path.partition(".")[0]})
    if changed == {"overrides"}:
        assert difference(request.overrides, Overrides()) == {path.partition(".")[2]}


def test_agents_that_may_take_part_are_no_file_of_a_fleet() -> None:
    """Two commands call different things ``devices``."""
    (option,) = [option for option in COMMANDS["simulate"].params if option.name == "devices"]
    assert option.metavar == "FILE"
