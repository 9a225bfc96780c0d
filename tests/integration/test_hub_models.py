"""Models of the hub, from the hub client's own cache: what was fetched once loads without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyrhythm_agent.denoiser.loading import load_denoiser
from tests.tiny_models.unets import tiny_sd_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"

UNREACHED = "is no path here, and as a model of the hub: the hub cannot be reached"

FIND = """
import sys
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm_agent.model_files.model_folder import find_model
log_to_stderr(agent="test")
for model in sys.argv[1:]:
    try:
        found = find_model(model)
        print(found.name, found.path)
    except InvalidArgumentError as error:
        print(error)
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds one model, as the client leaves it: blobs, links to them, and a branch."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "hub" / "models--org--tiny"
    made = tiny_sd_folder(tmp_path_factory.mktemp("tiny"))
    (repository / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in made.rglob("*") if path.is_file())):
        blob = file.rename(repository / "blobs" / f"{number:040x}")
        link = repository / "snapshots" / COMMIT / file.relative_to(made)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    return home


def find_with(home: Path, *models: str, offline: bool = True, **environment: str) -> list[str]:
    """What a process without torch says of each model: its name and where it lies, or what is wrong."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", FIND, *models],
        env=inherited | {"HF_HOME": str(home)} | ({"HF_HUB_OFFLINE": "1"} if offline else {}) | environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout.splitlines()


def snapshot(home: Path) -> Path:
    return home / "hub" / "models--org--tiny" / "snapshots" / COMMIT


def test_a_cached_model_is_found_without_a_network_and_loads(home: Path) -> None:
    models = [f"org/tiny{revision}" for revision in ("", "@main", "@v1", f"@{COMMIT}")]
    assert find_with(home, *models) == [f"{model} {snapshot(home)}" for model in models]
    assert len(load_denoiser(snapshot(home), model="org/tiny").facts.fingerprint) == 64


def test_without_network_and_copy_the_option_is_named(home: Path) -> None:
    wanted = ("org/other", "org/tiny@v2")
    for model, said in zip(wanted, find_with(home, *wanted), strict=True):
        assert said.startswith(f"--model: '{model}' {UNREACHED}")


def test_a_checkpoint_alone_takes_the_vocabulary_from_the_cache(home: Path, tmp_path: Path) -> None:
    names = ("model.diffusion_model.a", "first_stage_model.a", "cond_stage_model.transformer.a")
    header = json.dumps({name: {"dtype": "F16"} for name in names}).encode()
    checkpoint = tmp_path / "sd.safetensors"
    checkpoint.write_bytes(len(header).to_bytes(8, "little") + header)
    cache = str(tmp_path / "cache")
    (told,) = find_with(home, str(checkpoint), POLYRHYTHM_CACHE=cache)
    assert "CLIP's vocabulary cannot be had: the hub cannot be reached" in told
    repository = home / "hub" / "models--openai--clip-vit-large-patch14"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "vocab.json").write_text("{}")
    (told,) = find_with(home, str(checkpoint), POLYRHYTHM_CACHE=cache)
    assert "its cache has no merges.txt" in told
    (repository / "snapshots" / COMMIT / "merges.txt").write_text("")
    assert find_with(home, str(checkpoint), POLYRHYTHM_CACHE=cache) == [f"sd {checkpoint}"]
    assert len(list((tmp_path / "cache" / "configs").iterdir())) == 1


def test_a_hub_that_does_not_answer_is_as_good_as_none(home: Path) -> None:
    # Nothing listens on port 1; the client finds out at once.
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:1", "NO_PROXY": "*", "no_proxy": "*"}
    found, told = find_with(home, "org/tiny", "org/other", offline=False, **unreachable)
    assert found == f"org/tiny {snapshot(home)}"
    assert told.startswith(f"--model: 'org/other' {UNREACHED}")
