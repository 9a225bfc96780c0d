"""What is DiT's own: classes as prompts, square pictures, the folder's parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, ImageSpec, Quality
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Workload
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import MeasureProfile
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.measuring.profile import measure_profile
from polyrhythm_agent.memory.device_memory import HostMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports.denoiser import Denoiser, DenoiserRun
from tests.oracles.reference import class_of, plain_pipeline
from tests.tiny_models.families import FAMILIES
from tests.tiny_models.transformers import tiny_dit_folder
from tests.worlds.gang import solo_latent


@pytest.fixture
def family() -> str:
    return "dit"


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["dit"], model="tiny")


def image(**changes: Any) -> ImageSpec:
    return FAMILIES["dit"].image(**changes)


def our_pixels(denoiser: Denoiser, spec: ImageSpec) -> np.ndarray:
    latent_BCHW = solo_latent(denoiser.start(spec, denoiser.encode(spec)), spec.steps)
    return denoiser.decode(latent_BCHW).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("prompt", ["GOLDEN retriever", "207"])
def test_a_label_and_a_seed_are_the_picture_of_the_untouched_pipeline(
    folder: Path, denoiser: Denoiser, prompt: str, guidance: float
) -> None:
    spec = image(prompt=prompt, guidance=guidance)
    pipeline = plain_pipeline(folder, spec.sampler)
    generator = torch.Generator("cpu").manual_seed(spec.seed)
    (expected,) = pipeline([207], guidance, generator, spec.steps).images
    difference = np.abs(our_pixels(denoiser, spec).astype(int) - np.asarray(expected).astype(int))
    assert class_of(pipeline, "golden retriever") == 207
    assert difference.max() <= 1  # rounding of a value that lies between two levels


def test_another_class_is_another_picture(denoiser: Denoiser) -> None:
    dog, other = (our_pixels(denoiser, image(prompt=prompt)).astype(int) for prompt in ("207", "208"))
    assert np.abs(dog - other).mean() > 1


@pytest.mark.parametrize(("guidance", "expected"), [(1.0, [207]), (4.0, [1000, 207])])
def test_the_null_class_comes_first_where_there_is_guidance(
    denoiser: Denoiser, guidance: float, expected: list[int]
) -> None:
    spec = image(guidance=guidance)
    condition, empty = denoiser.encode(spec), denoiser.empty_condition(spec)
    assert condition["label_B"].tolist() == expected
    assert list(empty) == list(condition)
    assert (empty["label_B"].shape, empty["label_B"].dtype) == (condition["label_B"].shape, torch.int64)


def test_the_null_class_is_the_one_behind_the_last(tmp_path: Path) -> None:
    few = load_denoiser(tiny_dit_folder(tmp_path / "m", classes=10), model="tiny")
    spec = image(prompt="9")
    assert few.encode(spec)["label_B"].tolist() == [10, 9]
    run: DenoiserRun = few.start(spec, few.encode(spec))
    rows = RowRange(begin=0, end=run.geometry.row_count)
    assert run.predict(run.initial_noise(), 0, rows, SoloExchange(), NoObserver()).isfinite().all()


def test_a_label_is_one_token_and_other_texts_name_their_field(denoiser: Denoiser) -> None:
    assert denoiser.facts.token_limit == denoiser.count_tokens("tench") == 1
    assert denoiser.count_tokens(" ", "negative_prompt") == 0
    for field, text in (("prompt", "a dog"), ("negative_prompt", "tench")):
        with pytest.raises(InvalidArgumentError) as caught:
            denoiser.count_tokens(text, field)
        assert [violation.field for violation in caught.value.violations] == [field]
    with pytest.raises(InvalidArgumentError) as caught:
        denoiser.encode(image(prompt="a dog", negative_prompt="tench"))
    assert [violation.field for violation in caught.value.violations] == ["prompt", "negative_prompt"]


def test_pictures_are_square(denoiser: Denoiser) -> None:
    with pytest.raises(InvalidArgumentError, match="width_px: tiny makes square pictures only, got 128x64"):
        denoiser.encode(image(height_px=64))
    default = resolve(ImageRequest(prompt="tench"), denoiser.facts, seed=0)
    assert (default.width_px, default.height_px, default.steps, default.guidance) == (128, 128, 50, 4.0)
    assert (default.sampler, default.quality) == (Sampler.DDIM, Quality.BALANCED)


def test_its_speed_can_be_measured(denoiser: Denoiser) -> None:
    workload = Workload(model="tiny", width_px=64, height_px=64, batch=2)
    parts = PartsInMemory(denoiser.parts, HostMemory(weights_bytes=lambda: 0))
    profile = measure_profile(
        AgentId("a"),
        MeasureProfile(request_id=1, workload=workload),
        denoiser,
        NoObserver(),
        lambda exchange: exchange,
        parts,
    )
    assert profile.per_row_s > 0


def test_facts_are_those_of_the_parts(folder: Path, denoiser: Denoiser) -> None:
    facts, pipeline = denoiser.facts, plain_pipeline(folder, Sampler.DDIM)
    weights = sum(p.nbytes for part in (pipeline.transformer, pipeline.vae) for p in part.parameters())
    assert (facts.family, facts.square_only) == ("dit", True)
    assert facts.samplers[0] == "ddim"
    assert (facts.pixel_multiple, facts.row_unit_px, facts.token_px) == (8, 8, 8)
    assert facts.weights_bytes >= weights


def test_a_folder_whose_labels_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tiny_dit_folder(tmp_path / "m", classes=10)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": {"10": "cat"}}))
    with pytest.raises(ModelFolderError, match=r"id2label names '10' 'cat'; the model has classes 0\.\.9"):
        load_denoiser(folder, model="tiny")
