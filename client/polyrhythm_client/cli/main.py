"""The ``polyrhythm`` command: its subcommands and nothing else."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from polyrhythm import __version__
from polyrhythm.process.standard_streams import forgive_standard_streams, lost_output, reader_has_left
from polyrhythm_client.cli.command import as_command
from polyrhythm_client.cli.commands.agents import agents
from polyrhythm_client.cli.commands.calibrate import calibrate
from polyrhythm_client.cli.commands.drain import drain
from polyrhythm_client.cli.commands.generate import generate
from polyrhythm_client.cli.commands.plan import plan
from polyrhythm_client.cli.commands.simulate import simulate
from polyrhythm_client.cli.commands.up import up
from polyrhythm_client.cli.failures import EXIT_FAILED
from polyrhythm_client.cli.terminal import say
from polyrhythm_client.cli.usage import CommandLine

app = typer.Typer(
    name="polyrhythm",
    cls=CommandLine,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (generate, plan, agents, drain, up, simulate, calibrate):
    app.command()(as_command(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"polyrhythm {__version__}")
        raise typer.Exit


@app.callback()
def polyrhythm(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One diffusion image on several unequal devices at once.

    `polyrhythm generate "red apple on a blue background"` makes a picture, with a fleet of its own if none runs.
    `polyrhythm up` keeps a fleet running. On several machines, start `polyrhythm-coordinator` on one and
    `polyrhythm-agent` for every device.

    POLYRHYTHM_ADDRESS names the fleet to use. Variables of coordinator and agents, which their own `--help` explains,
    count for the processes that a command starts; `polyrhythm up --help` says which do not.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """


def main() -> None:
    """Entry point of the installed command."""
    forgive_standard_streams()
    code = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    lost = lost_output()
    if lost is not None and not code:
        code = EXIT_FAILED
        if not reader_has_left(lost):
            sys.stderr.write(f"error: standard output: {lost.strerror}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
