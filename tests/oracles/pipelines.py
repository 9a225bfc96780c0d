"""Pictures of diffusers' pipelines as a user makes them, and of this project beside them.

Owns no arithmetic. Tolerance of pictures: 1 of 255, which is what rounding may do between two neighbouring values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.sampling.sampling import CLASS_OF
from tests.oracles.found_schedulers import FoundScheduler
from tests.oracles.reference import class_of
from tests.worlds.gang import solo_latent

SIDE_PX = {"sd": 64, "sdxl": 64, "lcm": 64, "pixart": 64, "sigma": 64, "dit": 128}
LEVELS = 1


def with_scheduler(base: Path, path: Path, kind: str, file: Mapping[str, Any]) -> Path:
    """The same model in a new folder, with another scheduler in its index and another config."""
    for part in base.iterdir():
        if part.is_dir() and part.name != "scheduler":
            (path / part.name).symlink_to(part)
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(file))
    index = json.loads((base / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", kind]}))
    return path


def with_config(base: Path, path: Path, part: str, **changes: Any) -> Path:
    """The same model in a new folder, with another config of a part."""
    path.mkdir(exist_ok=True)
    for each in base.iterdir():
        if each.name != part:
            (path / each.name).symlink_to(each)
    (path / part).mkdir()
    for file in (base / part).iterdir():
        if file.name != "config.json":
            (path / part / file.name).symlink_to(file)
    config = json.loads((base / part / "config.json").read_text()) | changes
    (path / part / "config.json").write_text(json.dumps(config))
    return path


def stand_in(own: Any, sampler: Sampler) -> Any:
    """Another scheduler in the place of a pipeline's own, as a user makes it."""
    kind: Any = CLASS_OF[sampler]
    if sampler is Sampler.DPM_SOLVER_PP_2M:  # another solver's rule is none of its own, and some it would not take
        return kind.from_config(own.config, algorithm_type="dpmsolver++", solver_type="midpoint", solver_order=2)
    # DDIM would clip to [-1, 1] in the place of a scheduler that never clips.
    unclipped = {"clip_sample": False} if sampler is Sampler.DDIM and "clip_sample" not in own.config else {}
    return kind.from_config(own.config, **unclipped)


@torch.inference_mode()
def plain_picture(pipeline: Any, home: str, spec: ImageSpec) -> np.ndarray:
    """Pixels ``(height, width, 3)`` of the pipeline's own call, its generator and its decoder."""
    generator = torch.Generator().manual_seed(spec.seed)
    if home == "dit":
        return pipeline(
            [class_of(pipeline, spec.prompt)], spec.guidance, generator, spec.steps, output_type="np"
        ).images[0]
    unbinned = {"use_resolution_binning": False} if home in {"pixart", "sigma"} else {}
    return pipeline(
        spec.prompt,
        height=spec.height_px,
        width=spec.width_px,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        generator=generator,
        output_type="np",
        **unbinned,
    ).images[0]


def our_picture(folder: Path, spec: ImageSpec) -> np.ndarray:
    denoiser = load_denoiser(folder, model="tiny")
    assert denoiser.facts.samplers[0] == spec.sampler
    run = denoiser.start(spec, denoiser.encode(spec))
    return denoiser.decode(solo_latent(run, spec.steps)).permute(1, 2, 0).numpy()


def image(home: str, *, sampler: Sampler, steps: int, guidance: float, prompt: str = "a red apple") -> ImageSpec:
    return ImageSpec(
        model="tiny",
        prompt="207" if home == "dit" else prompt,
        width_px=SIDE_PX[home],
        height_px=SIDE_PX[home],
        steps=steps,
        seed=11,
        guidance=guidance,
        sampler=sampler,
        quality=Quality.EXACT,
    )


def assert_same(ours: np.ndarray, plain: np.ndarray) -> None:
    levels = (plain * 255).round().astype(int)
    assert levels.std() > 5  # something is to be seen, so that a difference would be
    assert np.abs(ours.astype(int) - levels).max() <= LEVELS


def pipeline_in(folder: Path) -> Any:
    """As a user loads it, with all that lies in its folder."""
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _modules(base: Path) -> dict[str, Any]:
    """All parts of a pipeline but its scheduler: they are the same in every folder made from this one."""
    pipeline = DiffusionPipeline.from_pretrained(base, local_files_only=True)
    return {name: part for name, part in pipeline.components.items() if part is not None and name != "scheduler"}


def pipeline_of(base: Path, folder: Path, found: FoundScheduler) -> Any:
    """As a user loads it from a folder of ``with_scheduler``; with the scheduler that stands in, where one does."""
    loaded: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **_modules(base))
    if found.stands_in:
        other = stand_in(loaded.scheduler, found.sampler)
        loaded = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **_modules(base), scheduler=other)
    loaded.set_progress_bar_config(disable=True)
    return loaded
