"""What a model's scheduler config allows: which samplers may be asked for, and which one stands in for a scheduler.

Owns the reading of options as diffusers names them. What a config asks for is done exactly or refused by name. A
scheduler whose update cannot be followed is replaced if its noise schedule can, and the user is told so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.sampling.updates import PredictionKind, SecondOrder
from polyrhythm_agent.errors import ModelFolderError

OWN_SAMPLER_BY_CLASS = {
    "DPMSolverMultistepScheduler": Sampler.DPM_SOLVER_PP_2M,
    "DDIMScheduler": Sampler.DDIM,
    "EulerDiscreteScheduler": Sampler.EULER,
    "EulerAncestralDiscreteScheduler": Sampler.EULER_ANCESTRAL,
    "FlowMatchEulerDiscreteScheduler": Sampler.FLOW_EULER,
    "LCMScheduler": Sampler.LCM,
    "TCDScheduler": Sampler.TCD,
    "EDMEulerScheduler": Sampler.EULER,
    "EDMDPMSolverMultistepScheduler": Sampler.DPM_SOLVER_PP_2M,
}
"""The sampler that does what the scheduler class in a model's folder does."""

DRAWS = "it draws noise at every step"
LOOKS_BACK = "it looks back over steps of equal rate"
ASKS_TWICE = "it asks the model twice a step"
STAND_IN_BY_CLASS = {
    "DDPMScheduler": (Sampler.DDIM, DRAWS),
    "PNDMScheduler": (Sampler.DDIM, LOOKS_BACK),
    "DEISMultistepScheduler": (Sampler.DPM_SOLVER_PP_2M, LOOKS_BACK),
    "UniPCMultistepScheduler": (Sampler.DPM_SOLVER_PP_2M, LOOKS_BACK),
    "DPMSolverSinglestepScheduler": (Sampler.DPM_SOLVER_PP_2M, ASKS_TWICE),
    "DPMSolverSDEScheduler": (Sampler.DPM_SOLVER_PP_2M, DRAWS),
    "SASolverScheduler": (Sampler.DPM_SOLVER_PP_2M, DRAWS),
    "HeunDiscreteScheduler": (Sampler.EULER, ASKS_TWICE),
    "KDPM2DiscreteScheduler": (Sampler.EULER, ASKS_TWICE),
    "KDPM2AncestralDiscreteScheduler": (Sampler.EULER, DRAWS),
    "LMSDiscreteScheduler": (Sampler.EULER, LOOKS_BACK),
    "FlowMatchHeunDiscreteScheduler": (Sampler.FLOW_EULER, ASKS_TWICE),
}
"""The sampler that stands in for a scheduler class on its noise schedule, and why the class itself is not offered."""

FLOW_CLASSES = frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"})
EDM_CLASSES = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})
"""Noise levels without trained timesteps, and a model with skip and output scales (Karras et al. 2022)."""

CLIPPING_CLASSES = frozenset({"DDIMScheduler", "DDPMScheduler"})
"""Classes that clip to [-1, 1] unless told otherwise, which is meant for pixels."""
CLIPPING_IF_TOLD = frozenset({"HeunDiscreteScheduler", "LCMScheduler"})
"""Classes that clip if their config says so. All others leave ``clip_sample`` to those who read it."""

LATENT_BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
BETAS_BY_CLASS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(
        ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"),
        LATENT_BETAS,
    ),
    **{name: {**LATENT_BETAS, "beta_schedule": "scaled_linear"} for name in ("LCMScheduler", "TCDScheduler")},
}
"""What these classes take where a config names no betas; the others all take what DDIM's takes."""

ORDINARY_BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}

RESPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
EDM_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "prediction_type": (PredictionKind.EPSILON, PredictionKind.VELOCITY),
    "thresholding": (False,),
}
CLIPPING_SAMPLERS = frozenset({Sampler.DDIM, Sampler.LCM})

UNCLIPPED_LAMBDA = -float("inf")
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SOLVER_RULE: Mapping[str, tuple[Any, ...]] = {
    "algorithm_type": ("dpmsolver++",),
    "solver_order": (2,),
    "solver_type": tuple(SecondOrder),
}
"""Options of a solver that say how it steps, not where: another update can stand in for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How a model may be sampled.

    Attributes:
        config: the scheduler's, without options that only an update which is not offered would read.
        samplers: what may be asked for, the default first.
        notices: what the user should know of it.
    """

    config: dict[str, Any]
    samplers: tuple[Sampler, ...]
    notices: tuple[str, ...]


def read_offer(config: Mapping[str, Any]) -> Offer:
    """The samplers that a scheduler config allows.

    Raises:
        ModelFolderError: the scheduler is unknown, or no sampler here can follow its options exactly; it names them.
    """
    name = str(config.get("_class_name", ""))
    known = {key: value for key, value in config.items() if key != "_use_default_values"}
    if name not in FLOW_CLASSES | EDM_CLASSES:
        # Named, since a sampler's class may have other defaults than the model's own.
        known = {**ORDINARY_BETAS, **BETAS_BY_CLASS.get(name, {}), **known}
    if name in STAND_IN_BY_CLASS:
        return _stand_in(known)
    if name not in OWN_SAMPLER_BY_CLASS:
        classes = ", ".join(sorted({*OWN_SAMPLER_BY_CLASS, *STAND_IN_BY_CLASS}))
        raise ModelFolderError(f"scheduler: {name!r} is not one of {classes}")
    own = OWN_SAMPLER_BY_CLASS[name]
    _refuse_unless_followed(own, known)
    rule = _differing(SOLVER_RULE, known) if own is Sampler.DPM_SOLVER_PP_2M else []
    notices = (_notice(f"{name} with {', '.join(rule)}", "its update does not exist here", own),) if rule else ()
    return Offer(config=_without_rule(known) if rule else known, samplers=_offered(own, known), notices=notices)


def _stand_in(config: dict[str, Any]) -> Offer:
    """Another update on the schedule of a scheduler; the preferred one, or the first that can follow it."""
    name = config["_class_name"]
    preferred, reason = STAND_IN_BY_CLASS[name]
    on_schedule = _without_rule(config)
    offered = _offered(preferred, on_schedule)
    if not offered:
        _refuse_unless_followed(preferred, on_schedule)
    return Offer(config=on_schedule, samplers=offered, notices=(_notice(name, reason, offered[0]),))


def _offered(first: Sampler, config: Mapping[str, Any]) -> tuple[Sampler, ...]:
    ordered = (first, *(sampler for sampler in Sampler if sampler is not first))
    return tuple(sampler for sampler in ordered if not _objections(sampler, config))


def _refuse_unless_followed(sampler: Sampler, config: Mapping[str, Any]) -> None:
    objections = _objections(sampler, config)
    if objections:
        raise ModelFolderError(f"scheduler: {config['_class_name']} with {', '.join(objections)} is not supported")


def _notice(scheduler: str, reason: str, sampler: Sampler) -> str:
    return f"scheduler {scheduler} is not offered, since {reason}; {sampler} is the default instead"


def _without_rule(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in SOLVER_RULE}


def _objections(sampler: Sampler, config: Mapping[str, Any]) -> list[str]:
    """Options of a config that this sampler cannot follow, as ``key=value``."""
    if sampler not in _samplers_of_form(config["_class_name"]):
        return [f"_class_name={config['_class_name']!r}"]
    if config["_class_name"] in EDM_CLASSES:
        return _differing(EDM_OPTIONS, config)
    allowed: dict[str, tuple[Any, ...]] = {
        "prediction_type": (PredictionKind.EPSILON, PredictionKind.VELOCITY, PredictionKind.CLEAN),
        "thresholding": (False,),  # a quantile over the whole picture, so not pointwise
        "use_dynamic_shifting": (False,),
        "use_flow_sigmas": (False,),
        "beta_schedule": BETA_SCHEDULES,
        "timestep_type": ("discrete",),
    }
    match sampler:
        case Sampler.DDIM:
            allowed |= dict.fromkeys(RESPACED, (False,))
            allowed |= {"lambda_min_clipped": (UNCLIPPED_LAMBDA,), "interpolation_type": ("linear",)}
            allowed |= _signal_to_read(config)
        case Sampler.DPM_SOLVER_PP_2M:
            allowed["interpolation_type"] = ("linear",)
            allowed["variance_type"] = (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
        case Sampler.EULER:
            allowed |= {"lambda_min_clipped": (UNCLIPPED_LAMBDA,), "use_lu_lambdas": (False,)}
        case Sampler.EULER_ANCESTRAL:
            allowed |= dict.fromkeys(RESPACED, (False,))
            allowed |= {
                "prediction_type": (PredictionKind.EPSILON, PredictionKind.VELOCITY),
                "lambda_min_clipped": (UNCLIPPED_LAMBDA,),
                "interpolation_type": ("linear",),
                "final_sigmas_type": ("zero",),
            }
        case Sampler.LCM | Sampler.TCD:
            allowed |= dict.fromkeys(RESPACED, (False,))
            allowed |= {"lambda_min_clipped": (UNCLIPPED_LAMBDA,), "interpolation_type": ("linear",)}
            allowed |= _signal_to_read(config)
        case Sampler.FLOW_EULER:
            allowed = {"invert_sigmas": (False,), "stochastic_sampling": (False,)}
        case _:
            assert_never(sampler)
    if sampler not in CLIPPING_SAMPLERS and config["_class_name"] in CLIPPING_IF_TOLD:
        allowed["clip_sample"] = (False,)
    return _differing(allowed, config)


def _samplers_of_form(name: str) -> frozenset[Sampler]:
    """Those whose grid can be read from schedulers of a class's form."""
    if name in FLOW_CLASSES:
        return frozenset({Sampler.FLOW_EULER})
    if name in EDM_CLASSES:
        return frozenset({Sampler.EULER, Sampler.DPM_SOLVER_PP_2M})
    return frozenset(Sampler) - {Sampler.FLOW_EULER}


def _signal_to_read(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Noise says nothing of a picture with no signal."""
    noise = config.get("prediction_type", PredictionKind.EPSILON) == PredictionKind.EPSILON
    return {"rescale_betas_zero_snr": (False,)} if noise else {}


def _differing(allowed: Mapping[str, tuple[Any, ...]], config: Mapping[str, Any]) -> list[str]:
    return [f"{key}={config[key]!r}" for key, values in allowed.items() if key in config and config[key] not in values]
