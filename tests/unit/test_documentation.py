"""Tables of the documentation against what they are about."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from polyrhythm.codec import bounds
from polyrhythm.codec.status import STATUS_CODES, VIOLATIONS_MAX
from polyrhythm.errors import ErrorCode, InvalidArgumentError, PolyrhythmError
from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.job.image import COUNT_MAX, GUIDANCE_MAX, PROMPT_CHARACTERS_MAX, STEPS_MAX
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.v1 import fleet_pb2, image_service_pb2
from polyrhythm_client.cli.failures import show_error
from polyrhythm_coordinator.grpc_api.health import LIVENESS
from polyrhythm_coordinator.runtime.blob_store import BYTES_MAX
from polyrhythm_coordinator.runtime.event_log import CLIENT_BYTES_LEAST, CLIENT_BYTES_MAX, PICTURES_MAX
from polyrhythm_coordinator.runtime.news import PROGRESS_INTERVAL_S
from polyrhythm_coordinator.runtime.outbox import ITEMS_MAX
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import (
    AGENT_SERVICE,
    CALLS_MAX,
    FLEET_SERVICE,
    IMAGE_SERVICE,
    PLACES_INTERVAL_S,
    SERVER_OPTIONS,
)
from polyrhythm_coordinator.settings import CoordinatorSettings

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading as plain text, without the table's own heading."""
    _, below = text.split(f"\n## {heading}\n", maxsplit=1)
    table = re.search(r"(?:^\|.*\n)+", below, flags=re.MULTILINE)
    assert table is not None, heading
    return [
        [cell.strip() for cell in line.replace("`", "").strip("|").split(" | ")] for line in table[0].splitlines()[2:]
    ]


def test_every_error_code_is_explained_with_its_exit_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d)", (DOCS / "json.md").read_text(), flags=re.MULTILINE)
    console = Console(file=io.StringIO())
    expected: dict[str, str] = {}
    for code in ErrorCode:
        error = InvalidArgumentError.of("field", "wrong") if code is ErrorCode.INVALID_ARGUMENT else PolyrhythmError()
        error.code = code
        expected[code.value] = str(show_error(console, error))
    assert dict(rows) == expected


def test_every_call_of_the_api_is_listed_as_what_it_is() -> None:
    services = (
        image_service_pb2.DESCRIPTOR.services_by_name["ImageService"],
        fleet_pb2.DESCRIPTOR.services_by_name["FleetService"],
    )
    assert [row[:2] for row in rows(API, "Services")] == [
        [f"{service.full_name}/{method.name}", "server stream" if method.server_streaming else "unary"]
        for service in services
        for method in service.methods
    ]


def test_every_event_of_a_job_is_listed_in_order() -> None:
    (oneof,) = image_service_pb2.GenerateResponse.DESCRIPTOR.oneofs
    assert [name for name, *_ in rows(API, "What `Generate` tells")] == [field.name for field in oneof.fields]


def test_every_status_is_listed_with_its_reason() -> None:
    listed = {reason: status for status, reason, _ in rows(API, "Errors")}
    assert listed == {code.name: status.name for code, status in STATUS_CODES.items()}
    assert f"of many fields the first {VIOLATIONS_MAX} are named" in API


def test_every_service_whose_health_is_told_is_listed() -> None:
    listed = [name if name != "(empty)" else LIVENESS for name, _ in rows(API, "Health and reflection")]
    assert listed == [LIVENESS, FLEET_SERVICE, AGENT_SERVICE, IMAGE_SERVICE]


def test_limits_are_those_of_the_code() -> None:
    room = f"{CLIENT_BYTES_LEAST >> 20} MiB, or as much as {PICTURES_MAX} of the job's may take"
    assert rows(API, "Limits") == [
        ["a message to the coordinator", f"{bounds.REQUEST_BYTES_MAX >> 10} KiB"],
        ["a message from the coordinator", f"{bounds.ANSWER_BYTES_MAX >> 20} MiB"],
        ["an image_chunk", f"{PART_BYTES >> 10} KiB"],
        ["a preview", f"{bounds.PREVIEW_BYTES_MAX >> 10} KiB"],
        ["calls at a time on one connection", f"{CALLS_MAX}"],
        ["pictures of a request", f"{COUNT_MAX}"],
        ["characters of a prompt", f"{PROMPT_CHARACTERS_MAX}"],
        ["steps", f"{STEPS_MAX}"],
        ["guidance", f"{GUIDANCE_MAX:g}"],
        ["segments of a given plan", f"{bounds.SEGMENTS_MAX}"],
        ["assignments of a given plan", f"{bounds.REQUEST_ASSIGNMENTS_MAX}"],
        ["agents of a fleet", f"{AGENTS_MAX}"],
        ["wait for agents that load", f"{Limits().loading_grace_s:g} s"],
        ["events that wait for a client", f"{ITEMS_MAX}"],
        ["pictures that wait for a client", f"{room}, but {CLIENT_BYTES_MAX >> 20} MiB"],
        ["pictures that wait for all clients", f"{BYTES_MAX >> 30} GiB"],
    ]


def test_times_and_addresses_in_the_text_are_those_of_the_code() -> None:
    options, settings = dict(SERVER_OPTIONS), CoordinatorSettings()
    idle_s, answer_s = options["grpc.keepalive_time_ms"] // 1000, options["grpc.http2.ping_timeout_ms"] // 1000
    assert f"silent for {idle_s} s, and gives it up after {answer_s} s" in API
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] == 1000
    assert "A client may ping every second" in API
    assert options["grpc.keepalive_permit_without_calls"]
    assert f"then every {PROGRESS_INTERVAL_S:g} s at most" in API
    assert PLACES_INTERVAL_S == 1
    assert "looked at once a second" in API
    assert f"`{settings.host}:{settings.port}`" in API


def test_modules_in_headings_of_the_architecture_are_there() -> None:
    roots = [DOCS.parent / root for root in ("protos", "coordinator", "gpu_agent", "client")]
    files = [path.relative_to(DOCS.parent) for root in roots for path in root.rglob("*.py")]
    modules = {path.with_suffix("").as_posix() for path in files}
    rooms = {path.rpartition("/")[0] for path in modules}
    headings = re.findall(r"^#+ .*\((.*`.*)\)$", (DOCS / "architecture.md").read_text(), flags=re.MULTILINE)
    named = [name for heading in headings for quoted in re.findall(r"`([^`]+)`", heading) for name in expanded(quoted)]
    assert len(named) > 20
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in modules | rooms)] == []


def expanded(quoted: str) -> list[str]:
    """Paths of modules and rooms as a heading writes them: ``a/{b,c}.py`` is two."""
    before, opened, rest = quoted.removesuffix(".py").strip("/").partition("{")
    return [before + each for each in rest.rstrip("}").split(",")] if opened else [before]
