"""A family of another package: the worked example of docs/adding-a-model.md, built, found and held to what all are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.model_folder import find_model
from tests.oracles.allocation import forward_bytes, peak_bytes, square_image
from tests.oracles.reference import relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.values.plans import agent_ids, exact_plan, plan, segment
from tests.worlds.gang import load_members, run_gang

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "adding_a_model"
TOLERANCE = 1e-9
IMAGE = ImageSpec(
    model="tiny",
    prompt="dusk",
    width_px=128,
    height_px=128,
    steps=20,
    seed=5,
    guidance=3.0,
    sampler=Sampler.DDIM,
    quality=Quality.EXACT,
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example's wheel lies unpacked, as an installation would put it."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True, timeout=60)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def folder(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the example's family, while its package is installed."""
    monkeypatch.syspath_prepend(installed)
    specification = importlib.util.spec_from_file_location("make_model", EXAMPLE / "make_model.py")
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script.write_mosaic(tmp_path / "mosaic")


def test_nobody_knows_the_family_before_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "MosaicPipeline"}')
    with pytest.raises(ModelFolderError, match=r"MosaicPipeline'; known pipelines: "):
        load_denoiser(tmp_path, model="tiny")


def test_daemon_and_worker_find_it_by_its_entry_point(folder: Path) -> None:
    assert find_model(str(folder)).path == folder
    facts = load_denoiser(folder, model="tiny").facts
    assert (facts.family, facts.row_count(128), facts.layers) == ("mosaic", 16, 1)


@pytest.mark.parametrize("rows", [32, 16, 8])
def test_it_says_what_it_takes(folder: Path, rows: int) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    image, memory = square_image(denoiser, 256), denoiser.facts.memory
    assert memory is not None
    measured, said = forward_bytes(denoiser, image, rows)
    assert measured <= said <= 1.5 * measured
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise()
    measured = peak_bytes(lambda: denoiser.decode(latent_BCHW))
    assert measured <= memory.decode_pixel_bytes * image.width_px * image.height_px <= 1.5 * measured


def test_any_split_is_the_whole_picture(folder: Path) -> None:
    agents = agent_ids(3)
    denoisers = load_members(folder, agents, torch.float64)
    alone = run_gang(exact_plan(20, (16,)), denoisers, IMAGE)[agents[0]].states[20].x_BCHW
    runs = run_gang(exact_plan(20, (9, 1, 6)), denoisers, IMAGE)
    for run in runs.values():
        assert relative_difference(run.states[20].x_BCHW, alone) <= TOLERANCE
        assert run.sent_bytes == run.predicted_bytes > 0


def test_a_displaced_plan_is_the_simulators_picture(folder: Path) -> None:
    followed = plan(
        segment(0, 4, (11, 5), beat_steps=2),
        segment(4, 16, (8, 8), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=4),
        segment(16, 20, (11, 5), exchange=Exchange.DISPLACED, beat_steps=2),
    )
    denoisers = load_members(folder, followed.agents, torch.float64)
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float64)
    simulated = PlanSimulator(denoiser.start(IMAGE, denoiser.encode(IMAGE))).simulate(followed)
    for run in run_gang(followed, denoisers, IMAGE).values():
        for step, state in run.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCE, f"x at {step}"


def test_its_attention_and_its_positions_matter(folder: Path) -> None:
    """Negative control: rows that see no others, or believe that they lie elsewhere, come out otherwise."""
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float64)
    run = denoiser.start(IMAGE, denoiser.encode(IMAGE))
    noise_BCHW, upper = run.initial_noise(), RowRange(begin=0, end=8)
    whole = run.predict(noise_BCHW, 0, RowRange(begin=0, end=16), SoloExchange(), NoObserver())[:, :, :64]
    alone = run.predict(noise_BCHW[:, :, :64], 0, upper, SoloExchange(), NoObserver())
    lower = run.predict(noise_BCHW[:, :, :64], 0, RowRange(begin=8, end=16), SoloExchange(), NoObserver())
    assert relative_difference(alone, whole) > 1000 * TOLERANCE
    assert relative_difference(lower, alone) > 1000 * TOLERANCE


def test_the_page_shows_what_the_example_does() -> None:
    """Every block of code on the page stands in the example, but for white space."""
    page = (REPOSITORY / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
    sources = {
        "python": "".join((EXAMPLE / "mosaic_family.py").read_text(encoding="utf-8").split()),
        "toml": "".join((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8").split()),
    }
    blocks = re.findall(r"```(python|toml)\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) >= 4
    for language, block in blocks:
        assert "".join(block.split()) in sources[language], block
