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

from polyrhythm.shipped_models import DEFAULT_MODEL

REPOSITORY = Path(__file__).parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE_GPU = (REPOSITORY / "docker-compose.gpu.yml").read_text()
AGENTS = ("agent-0", "agent-1")


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


def copied(dockerfile: str, stage: str) -> list[str]:
    """What a stage copies out of the folder that is built from."""
    body = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    (lines,) = [part.splitlines() for part in body if re.match(rf"\S+ AS {stage}$", part.splitlines()[0])]
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    return [source for sources in copies for source in sources]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pyproject.toml", True),
        ("protos/polyrhythm/rows.py", True),
        ("protos/polyrhythm/v1/image_pb2.py", False),
        ("client/__pycache__/x.pyc", False),
        ("models/demo-unet/vae/config.json", True),
        ("models/demo-transformer/vae/config.json", False),
        ("tests/families.py", False),
        (".git/config", False),
    ],
)
def test_the_rules_are_read_as_the_engine_reads_them(path: str, expected: bool) -> None:
    assert lets_through((REPOSITORY / ".dockerignore").read_text(), path) is expected


def test_the_wheel_of_the_images_is_complete(tmp_path: Path) -> None:
    rules = (REPOSITORY / ".dockerignore").read_text()
    for source in copied((REPOSITORY / "Dockerfile").read_text(), "wheel"):
        start = REPOSITORY / source
        for path in [start] if start.is_file() else start.rglob("*"):
            name = path.relative_to(REPOSITORY).as_posix()
            if path.is_file() and lets_through(rules, name):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, tmp_path / name)
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
    for file in (path for path in model.rglob("*") if path.is_file()):
        assert f"polyrhythm_agent/models/{DEFAULT_MODEL}/{file.relative_to(model).as_posix()}" in names


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
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    timeouts_s = [int(value) for value in re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s", dockerfile, re.MULTILINE)]
    assert len(timeouts_s) == 2
    assert min(timeouts_s) >= 30, "the check takes half a second of a core, of which the workers leave it little"


@pytest.mark.parametrize("agent", AGENTS)
def test_what_gpus_change_is_no_more_than_what_gpus_need(agent: str) -> None:
    plain, on_gpu = services()[agent], services(COMPOSE_GPU)[agent]
    assert on_gpu.keys() == {"environment", "deploy"}
    assert not set(on_gpu["environment"].items()) & set(plain["environment"].items()) - {
        ("POLYRHYTHM_AGENT_EMULATE_SPEED", "1")
    }
