"""What a single-file checkpoint says of its own sampling, by tensors that are no weights.

Owns the meaning of these marks. They are obeyed whatever the configs say that go with the file: those are often
another model's of the same shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from polyrhythm_agent.denoiser.folder import INDEX_FILE, ModelFolder
from polyrhythm_agent.denoiser.scheduler_config import EDM_CLASSES, FLOW_CLASSES
from polyrhythm_agent.denoiser.scheduler_file import SCHEDULER_FILE, SCHEDULER_PART, scheduler_config
from polyrhythm_agent.errors import ModelFolderError

OPTION_OF_MARK: Mapping[str, tuple[str, Any]] = {
    "v_pred": ("prediction_type", "v_prediction"),
    "ztsnr": ("rescale_betas_zero_snr", True),
}
"""What these say of the scheduler that the configs have."""
EDM_MEAN_MARK, EDM_DEVIATION_MARK = "edm_mean", "edm_std"
EDM_VELOCITY_MARKS = {"sigma_max": "edm_vpred.sigma_max", "sigma_min": "edm_vpred.sigma_min"}

EDM_SOLVER = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "solver_order": 2,
}
"""How models are sampled whose latents have a mean and a deviation of their own: Playground 2.5 (Li et al. 2024)."""
EDM_EULER = {
    "_class_name": "EDMEulerScheduler",
    "prediction_type": "v_prediction",
    "sigma_data": 1.0,
    "sigma_max": 120.0,
    "sigma_min": 0.002,
    "sigma_schedule": "exponential",
}
"""The same of models that were tuned from noise to EDM's velocity, as CosXL was."""

Configs = dict[str, dict[str, Any]]
"""Contents of JSON files by their names in the folder."""


def marked_configs(weights: Mapping[str, Tensor], configs: ModelFolder) -> Configs:
    """The files that a checkpoint's marks make other than they are; none without marks.

    Args:
        weights: all tensors of the checkpoint.
        configs: that go with it.

    Raises:
        ModelFolderError: a mark lacks the one that belongs to it, or is none of the configs' scheduler.
    """
    means = [mark for mark in (EDM_MEAN_MARK, EDM_DEVIATION_MARK) if mark in weights]
    if len(means) == 1:
        raise ModelFolderError(
            f"model: the checkpoint has {means[0]}, and of {EDM_MEAN_MARK}, {EDM_DEVIATION_MARK} both"
        )
    if means:
        return _with_scheduler(EDM_SOLVER, {}, configs) | _with_latents(weights, configs)
    if EDM_VELOCITY_MARKS["sigma_max"] in weights:
        bounds = {key: float(weights[mark]) for key, mark in EDM_VELOCITY_MARKS.items() if mark in weights}
        return _with_scheduler(EDM_EULER, {"prediction_type": "v_prediction", **bounds}, configs)
    marks = [mark for mark in OPTION_OF_MARK if mark in weights]
    return _with_options(marks, configs) if marks else {}


def _with_scheduler(scheduler: Mapping[str, Any], options: Mapping[str, Any], configs: ModelFolder) -> Configs:
    """The given scheduler, unless the configs have one of its form; in either case with what the marks say."""
    known = scheduler_config(configs)
    chosen = {**(known if known["_class_name"] in EDM_CLASSES else scheduler), **options}
    index = {**configs.index, SCHEDULER_PART: ["diffusers", chosen["_class_name"]]}
    return {f"{SCHEDULER_PART}/{SCHEDULER_FILE}": chosen, INDEX_FILE: index}


def _with_latents(weights: Mapping[str, Tensor], configs: ModelFolder) -> Configs:
    mean, deviation = (weights[mark].flatten().tolist() for mark in (EDM_MEAN_MARK, EDM_DEVIATION_MARK))
    described = configs.config_of("vae", "config.json")
    return {"vae/config.json": {**described, "latents_mean": mean, "latents_std": deviation}}


def _with_options(marks: Sequence[str], configs: ModelFolder) -> Configs:
    known = scheduler_config(configs)
    if known["_class_name"] in FLOW_CLASSES | EDM_CLASSES:
        raise ModelFolderError(
            f"model: the checkpoint has {', '.join(marks)}, and {known['_class_name']} knows no such"
        )
    return {f"{SCHEDULER_PART}/{SCHEDULER_FILE}": {**known, **dict(OPTION_OF_MARK[mark] for mark in marks)}}
