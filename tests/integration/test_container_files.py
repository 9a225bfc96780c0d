"""The images are built from what .dockerignore lets through, and a fleet of them is told what its header says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyrhythm.model.shipped_models import DEFAULT_MODEL
from polyrhythm.process.environment import CACHE_VARIABLE
from tests.checks.leftovers import leftovers
from tests.checks.shipped_files import REPOSITORY, shipped_files

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE_GPU = (REPOSITORY / "docker-compose.gpu.yml").read_text()
AGENTS = ("agent-0", "agent-1")
IMAGES = {"coordinator": "coordinator", "agent-0": "agent", "agent-1": "agent"}
"""What each container is made of: a stage of the Dockerfile."""


def services(text: str = COMPOSE) -> dict[str, Any]:
    """What each container is told, anchors resolved and variables not."""
    return yaml.safe_load(text)["services"]


def lets_through(rules: str, path: str) -> bool:
    """Whether a file of the folder reaches the engine: the last rule that matches it or a folder above it decides."""
    parents = path.split("/")
    candidates = ["/".join(parents[:length]) for length in range(1, len(parents) + 1)]
    out = False
    for rule in rules.splitlines():
        pattern = rule.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and any(_matches(pattern, name) for name in candidates):
            out = not rule.startswith("!")
    return not out


def _matches(pattern: str, name: str) -> bool:
    parts = re.split(r"(\*\*/|\*)", pattern)
    meaning = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return re.fullmatch("".join(meaning.get(part, re.escape(part)) for part in parts), name) is not None


def instructions(stage: str) -> list[tuple[str, str]]:
    """What a stage of the Dockerfile does after FROM, each keyword with the rest of its line."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    body = re.split(r"^FROM ", joined, flags=re.MULTILINE)
    (lines,) = [part.splitlines() for part in body if re.match(rf"\S+ AS {stage}$", part.splitlines()[0])]
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in lines[1:]) if keyword]


def image(name: str) -> list[tuple[str, str]]:
    """What an image is made by, the stages that it is built upon included."""
    (base,) = re.findall(rf"^FROM (\S+) AS {name}$", DOCKERFILE, flags=re.MULTILINE)
    return [*([] if base.startswith("$") else image(base)), *instructions(name)]


def last(name: str, keyword: str) -> str:
    """What holds in an image where one instruction replaces another."""
    return [rest for found, rest in image(name) if found == keyword][-1]


def variables(name: str) -> dict[str, str]:
    """What an image sets in the environment."""
    return dict(pair.split("=", 1) for keyword, rest in image(name) if keyword == "ENV" for pair in rest.split())


def copied(stage: str) -> list[str]:
    """What a stage copies out of the folder that is built from."""
    copies = [rest.split()[:-1] for keyword, rest in instructions(stage) if keyword == "COPY" and "--from=" not in rest]
    return [source for sources in copies for source in sources]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pyproject.toml", True),
        ("protos/polyrhythm/plan/rows.py", True),
        ("protos/polyrhythm/v1/image_pb2.py", False),
        ("client/__pycache__/x.pyc", False),
        ("models/demo-unet/vae/config.json", True),
        ("models/demo-transformer/vae/config.json", False),
        ("tests/tiny_models/families.py", False),
        (".git/config", False),
    ],
)
def test_the_rules_are_read_as_the_engine_reads_them(path: str, expected: bool) -> None:
    assert lets_through((REPOSITORY / ".dockerignore").read_text(), path) is expected


def test_the_wheel_of_the_images_is_complete(tmp_path: Path) -> None:
    rules = (REPOSITORY / ".dockerignore").read_text()
    for source in copied("wheel"):
        start = REPOSITORY / source
        for path in [start] if start.is_file() else start.rglob("*"):
            name = path.relative_to(REPOSITORY).as_posix()
            if path.is_file() and lets_through(rules, name):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, tmp_path / name)
    for name in leftovers(tmp_path / "models" / DEFAULT_MODEL):
        (tmp_path / "models" / DEFAULT_MODEL / name).touch()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    for package in ("polyrhythm", "polyrhythm_coordinator", "polyrhythm_agent", "polyrhythm_client"):
        assert f"{package}/__init__.py" in names
    stubs = {path.stem for path in (REPOSITORY / "protos").rglob("*.proto")}
    assert {name.rpartition("/")[2].removesuffix("_pb2.py") for name in names if name.endswith("_pb2.py")} == stubs
    model = REPOSITORY / "models" / DEFAULT_MODEL
    files = [path.relative_to(model).as_posix() for path in shipped_files(model)]
    held = {name for name in names if name.startswith("polyrhythm_agent/models/")}
    assert held == {f"polyrhythm_agent/models/{DEFAULT_MODEL}/{name}" for name in files}


def test_what_a_calibration_leaves_behind_is_in_no_image(tmp_path: Path) -> None:
    rules = (REPOSITORY / ".dockerignore").read_text()
    assert lets_through(rules, f"models/{DEFAULT_MODEL}/calibration.json")
    for name in leftovers(tmp_path):
        assert not lets_through(rules, f"models/{DEFAULT_MODEL}/{name}")


def test_every_variable_of_the_fleet_is_explained() -> None:
    comments = " ".join(line for line in (COMPOSE + COMPOSE_GPU).splitlines() if line.strip().startswith("#"))
    variables = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE + COMPOSE_GPU))
    assert variables >= {"FLEET_MODEL", "FLEET_DTYPE_0", "FLEET_DTYPE_1", "HF_TOKEN"}
    assert {name for name in variables if not re.search(rf"\b{name}\b", comments)} == set()


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_gets_the_users_token_of_the_hub_and_its_own_arithmetic(agent: str) -> None:
    told = services()[agent]["environment"]
    assert told["HF_TOKEN"] == "${HF_TOKEN:-}"
    assert told["POLYRHYTHM_AGENT_DTYPE"] == f"${{FLEET_DTYPE_{agent[-1]}:-auto}}"


def test_a_token_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HOME", "/nowhere")
    from huggingface_hub import get_token

    assert get_token() is None


@pytest.mark.parametrize("service", ["coordinator", *AGENTS])
def test_a_container_that_ends_with_an_error_is_not_started_for_ever(service: str) -> None:
    policy = services()[service]["restart"]
    assert re.fullmatch(r"on-failure:[1-9]", policy), "exit code 2 is of a wrong option, and comes back at every start"


def test_a_health_check_waits_for_a_core_of_a_busy_host() -> None:
    timeouts_s = [int(value) for value in re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s", DOCKERFILE, re.MULTILINE)]
    assert len(timeouts_s) == 2
    assert min(timeouts_s) >= 30, "the check takes half a second of a core, of which the workers leave it little"


@pytest.mark.parametrize("agent", AGENTS)
def test_what_gpus_change_is_no_more_than_what_gpus_need(agent: str) -> None:
    plain, on_gpu = services()[agent], services(COMPOSE_GPU)[agent]
    assert on_gpu.keys() == {"environment", "deploy"}
    assert not set(on_gpu["environment"].items()) & set(plain["environment"].items()) - {
        ("POLYRHYTHM_AGENT_EMULATE_SPEED", "1")
    }


def test_what_is_fetched_or_converted_outlasts_the_agents_and_is_theirs_to_write() -> None:
    told = variables("agent")
    place = told[CACHE_VARIABLE]
    assert Path(told["HF_HOME"]).is_relative_to(place)
    steps = image("agent")
    made = steps.index(("RUN", f"install -d -o polyrhythm -g polyrhythm {place}"))
    assert made < steps.index(("USER", "polyrhythm")), "only root can make it"
    assert "cache" in yaml.safe_load(COMPOSE)["volumes"]
    for agent in AGENTS:
        assert f"cache:{place}" in services()[agent]["volumes"], "one volume for all agents"
        for told_more in (services()[agent]["environment"], services(COMPOSE_GPU)[agent]["environment"]):
            assert not told_more.keys() & {CACHE_VARIABLE, "HF_HOME"}


@pytest.mark.parametrize("agent", AGENTS)
def test_models_of_the_host_are_read_only(agent: str) -> None:
    assert "${FLEET_MODELS:-./models}:/models:ro" in services()[agent]["volumes"]


@pytest.mark.parametrize("service", IMAGES)
def test_a_container_can_write_where_its_commands_do_and_nowhere_else(service: str) -> None:
    told, folder = services()[service], last(IMAGES[service], "WORKDIR")
    assert told["read_only"] is True
    assert folder in told["tmpfs"], "pictures that are given no folder go there"
    (user,) = [rest for keyword, rest in image(IMAGES[service]) if keyword == "RUN" and rest.startswith("useradd ")]
    assert f"--home-dir {folder} " in user, "what looks for a home finds one that can be written"


@pytest.mark.parametrize("service", IMAGES)
def test_a_container_may_no_more_than_it_needs(service: str) -> None:
    told = services()[service]
    assert told["build"]["target"] == IMAGES[service]
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert told["init"] is True
    assert not told.keys() & {"privileged", "cap_add", "user", "network_mode"}
    assert last(IMAGES[service], "USER") == "polyrhythm"
    assert all(port.startswith("127.0.0.1:") for port in told.get("ports", ())), "there is neither TLS nor a token"


def test_each_gpu_is_one_agents_and_its_daemon_may_ask_about_it() -> None:
    reserved = [services(COMPOSE_GPU)[agent]["deploy"]["resources"]["reservations"]["devices"] for agent in AGENTS]
    named = [re.findall(r"FLEET_GPU_\d", device["device_ids"][0]) for (device,) in reserved]
    assert named == [["FLEET_GPU_0"], ["FLEET_GPU_1"]]
    for (device,) in reserved:
        assert len(device["device_ids"]) == 1
        assert device["capabilities"] == ["gpu", "compute", "utility"]
    assert variables("agent")["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert variables("agent")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
