"""What a single-file checkpoint says of its own sampling, by its metadata and by tensors that are no weights.

Owns what follows for the configs from these marks, whose meaning is ``checkpoint_spec``'s. They are obeyed whatever the
configs say that go with the file: those are often another model's of the same shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from polyrhythm_agent.denoiser.files.folder import INDEX_FILE, ModelFolder
from polyrhythm_agent.denoiser.sampling.scheduler_config import EDM_CLASSES, FLOW_CLASSES
from polyrhythm_agent.denoiser.sampling.scheduler_file import SCHEDULER_FILE, SCHEDULER_PART, scheduler_config
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader
from polyrhythm_agent.model_files.checkpoint_spec import (
    EDM_DEVIATION_MARK,
    EDM_MEAN_MARK,
    EDM_VELOCITY_MARK,
    EPSILON,
    NOTICES_FILE,
    VELOCITY,
    ZERO_SIGNAL_MARK,
    said_by,
)

PREDICTION, ZERO_SIGNAL = "prediction_type", "rescale_betas_zero_snr"
"""Options of a scheduler that marks speak of."""
DEFAULTS: Mapping[str, Any] = {PREDICTION: EPSILON, ZERO_SIGNAL: False}
EDM_LOWER_MARK = "edm_vpred.sigma_min"
EDM_BOUND_MARKS = {"sigma_max": EDM_VELOCITY_MARK, "sigma_min": EDM_LOWER_MARK}

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
    PREDICTION: VELOCITY,
    "sigma_data": 1.0,
    "sigma_max": 120.0,
    "sigma_min": 0.002,
    "sigma_schedule": "exponential",
}
"""The same of models that were tuned from noise to EDM's velocity, as CosXL was."""

Configs = dict[str, dict[str, Any]]
"""Contents of JSON files by their names in the folder."""


def marked_configs(header: CheckpointHeader, weights: Mapping[str, Tensor], configs: ModelFolder) -> Configs:
    """The files that a checkpoint's marks make other than they are; none without marks.

    Args:
        header: of the checkpoint.
        weights: all its tensors.
        configs: that go with it.

    Raises:
        ModelFolderError: the checkpoint contradicts itself, a mark lacks the one that belongs to it, or is none of the
            configs' scheduler.
    """
    said = said_by(header)
    if EDM_LOWER_MARK in weights and EDM_VELOCITY_MARK not in weights:
        raise ModelFolderError(f"model: the checkpoint has {EDM_LOWER_MARK}, and not {EDM_VELOCITY_MARK}")
    noted: Configs = {NOTICES_FILE: {"notices": [*configs.notices, *said.notices]}} if said.notices else {}
    edm_marks = [mark for mark in (EDM_MEAN_MARK, EDM_DEVIATION_MARK, EDM_VELOCITY_MARK) if mark in weights]
    if edm_marks:
        return noted | _edm_configs(edm_marks, weights, configs)
    options = {} if said.prediction is None else {PREDICTION: said.prediction}
    if ZERO_SIGNAL_MARK in weights:
        return noted | _with_options((*said.marks, ZERO_SIGNAL_MARK), options | {ZERO_SIGNAL: True}, configs)
    return noted | _with_options(said.marks, options, configs)


def _edm_configs(marks: Sequence[str], weights: Mapping[str, Tensor], configs: ModelFolder) -> Configs:
    if ZERO_SIGNAL_MARK in weights:
        raise ModelFolderError(f"model: the checkpoint has {ZERO_SIGNAL_MARK}, and {marks[0]} knows no such")
    means = [mark for mark in (EDM_MEAN_MARK, EDM_DEVIATION_MARK) if mark in marks]
    if len(means) == 1:
        raise ModelFolderError(
            f"model: the checkpoint has {means[0]}, and of {EDM_MEAN_MARK}, {EDM_DEVIATION_MARK} both"
        )
    if means:
        return _with_scheduler(EDM_SOLVER, {}, configs) | _with_latents(weights, configs)
    bounds = {key: float(weights[mark]) for key, mark in EDM_BOUND_MARKS.items() if mark in weights}
    return _with_scheduler(EDM_EULER, {PREDICTION: VELOCITY, **bounds}, configs)


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


def _with_options(marks: Sequence[str], options: Mapping[str, Any], configs: ModelFolder) -> Configs:
    """The configs' scheduler with options that marks speak of; nothing where it has them."""
    known = scheduler_config(configs)
    changed = {name: value for name, value in options.items() if known.get(name, DEFAULTS[name]) != value}
    kind = known["_class_name"]
    if (options and kind in FLOW_CLASSES) or (changed and kind in EDM_CLASSES):
        raise ModelFolderError(f"model: the checkpoint has {', '.join(marks)}, and {kind} knows no such")
    return {f"{SCHEDULER_PART}/{SCHEDULER_FILE}": {**known, **changed}} if changed else {}
