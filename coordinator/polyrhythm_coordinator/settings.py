"""What can be set from outside: command line over environment over defaults. Frozen, validated once."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from polyrhythm import __version__
from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.process.address import UNIX
from polyrhythm.process.environment import Daemon, options_of_variables, read_variables, told_by_variables, variable_of

DESCRIPTION = """\
Accepts requests for pictures over gRPC, plans each picture on the agents that
are connected, and follows it to the end. It needs no GPU and no torch. Agents
dial in; start it first, then one agent for each device:

  polyrhythm-coordinator --port 50051
  polyrhythm-agent --coordinator 127.0.0.1:50051 --name gpu-0 --device cuda:0
  polyrhythm generate "red apple" --address 127.0.0.1:50051

When it listens it prints one line: polyrhythm-coordinator ready on HOST:PORT.
Everything else goes to standard error. SIGINT or SIGTERM ends it; running jobs
get a typed error."""

EPILOG = f"""\
Every option can also be set in the environment, such as
{variable_of(Daemon.COORDINATOR, "--port")}=50052. The command line wins.

exit codes:
  0  ended by a signal or by its lifeline
  1  it cannot listen, or failed
  2  an option is wrong"""


def _bare(host: str) -> str:
    """An IPv6 address without the brackets that it has beside a port."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


class CoordinatorSettings(BaseModel):
    """Settings of one coordinator.

    Attributes:
        host: name or address to listen on, or ``unix:/PATH`` for a socket.
        port: to listen on; 0 lets the system choose one.
        insecure_bind: listen beyond loopback without TLS and token, on a network that nobody else can reach.
        lifeline_fd: read end of a pipe; the coordinator ends when the pipe does.
        log_level: of what goes to standard error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, AfterValidator(_bare)] = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=50051, ge=0, le=65535)
    insecure_bind: bool = False
    lifeline_fd: int | None = Field(default=None, ge=0)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")


OPTIONS = {name: f"--{name.replace('_', '-')}" for name in CoordinatorSettings.model_fields}
"""How the command line spells each setting."""


def read_settings(arguments: list[str], environment: Mapping[str, str] = os.environ) -> CoordinatorSettings:
    """Reads the command line and the environment.

    Raises:
        InvalidArgumentError: names every option or variable that is wrong, or that nobody knows.
        SystemExit: after ``--help``, or for an option that does not exist.
    """
    with told_by_variables(Daemon.COORDINATOR, set_by_variables(arguments, environment)):
        variables = read_variables(environment, Daemon.COORDINATOR, OPTIONS)
        return make_settings(**{**variables, **_given(arguments)})


def set_by_variables(arguments: list[str], environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Options whose values the environment decides.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
        SystemExit: after ``--help``, or for an option that does not exist.
    """
    return options_of_variables(environment, Daemon.COORDINATOR, OPTIONS, _given(arguments))


def _given(arguments: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = vars(_parser().parse_args(arguments))
    return {name: value for name, value in options.items() if value is not None}


def make_settings(**values: Any) -> CoordinatorSettings:
    """Validates settings.

    Raises:
        InvalidArgumentError: names the option that is wrong.
    """
    try:
        settings = CoordinatorSettings(**values)
    except ValidationError as error:
        found = (
            FieldViolation(field=OPTIONS[str(fault["loc"][0])], description=f"{fault['msg']}, got {fault['input']!r}")
            for fault in error.errors()
        )
        raise InvalidArgumentError(*found) from error
    if settings.host.startswith(UNIX) and "port" in settings.model_fields_set:
        raise InvalidArgumentError.of("--port", f"cannot go with a unix socket, {settings.host}")
    if not settings.insecure_bind and not is_loopback(settings.host):
        raise InvalidArgumentError.of(
            "--host",
            f"{settings.host} can be reached from other machines, and there is no TLS and no token yet; "
            "use 127.0.0.1, or --insecure-bind on a network that nobody else can reach",
        )
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost" or host.startswith(UNIX):  # the name is loopback wherever the system is not misconfigured
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polyrhythm-coordinator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--host",
        help="address to listen on (default 127.0.0.1; only this machine can reach it), or unix:/PATH for a socket",
    )
    parser.add_argument("--port", help="port to listen on (default 50051; 0: a free one)")
    parser.add_argument(
        "--insecure-bind",
        action="store_const",
        const=True,
        help="allow a --host beyond loopback although there is no TLS and no token: "
        "only on an isolated network, such as one between containers",
    )
    parser.add_argument("--lifeline-fd", metavar="N", help="end when the pipe behind this file descriptor ends")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info (default), warning or error")
    parser.add_argument("--version", action="version", version=f"polyrhythm {__version__}")
    return parser
