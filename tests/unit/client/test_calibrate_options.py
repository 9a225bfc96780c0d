"""``polyrhythm calibrate`` offers what the agent's own command does, and passes it on."""

from __future__ import annotations

import typer.main

from polyrhythm.model.loading_choices import DtypeChoice
from polyrhythm_agent.calibration.options import parser
from polyrhythm_client.cli.commands.calibrate import CalibrateOptions
from polyrhythm_client.cli.main import app

OF_CHILDREN = {"--lifeline-fd"}


def test_every_option_of_the_agents_command_is_offered() -> None:
    command = typer.main.get_group(app).commands["calibrate"]
    offered = {option for held in command.params for option in held.opts}
    wanted = {text for action in parser()._actions for text in action.option_strings if text.startswith("--")}
    assert wanted - OF_CHILDREN - {"--help", "--model"} <= offered


def test_what_is_said_reaches_the_agents_command() -> None:
    given = CalibrateOptions(model="demo-unet", dtype=DtypeChoice.BFLOAT16, threads=2, replace=True)
    read = parser().parse_args(given.arguments())
    assert (read.dtype, read.threads, read.replace) == (DtypeChoice.BFLOAT16, 2, True)
    unsaid = parser().parse_args(CalibrateOptions(model="demo-unet").arguments())
    assert unsaid == parser().parse_args(["--model", "demo-unet"])
