"""Scheduler configs as they lie in the repositories of models that people run, and what is to become of each.

Owns data only: values as in the files, without those that no class reads. Names say where a config is at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polyrhythm.model.request_choices import Sampler

LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
PIXEL = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}
STABLE = LATENT | {"set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None}
"""What nearly every file of Stable Diffusion's descendants says, whatever its class."""
UNCLIPPED = STABLE | {"clip_sample": False}
XL = UNCLIPPED | {"interpolation_type": "linear", "prediction_type": "epsilon", "sample_max_value": 1.0}
SOLVER = {
    "algorithm_type": "dpmsolver++",
    "dynamic_thresholding_ratio": 0.995,
    "lambda_min_clipped": -float("inf"),
    "lower_order_final": True,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_type": "midpoint",
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_karras_sigmas": False,
    "use_lu_lambdas": False,
    "variance_type": None,
}
EDM = {"sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "num_train_timesteps": 1000, "rho": 7.0}
FLOW = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "invert_sigmas": False,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift_terminal": None,
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundScheduler:
    """One config.

    Attributes:
        kind: class in the index, and in the file unless that says another.
        options: contents of the file.
        home: family whose models come with it.
        sampler: that runs it here.
        stands_in: whether that sampler's update is another one on the schedule, which the user is told.
        steps: as people use it.
        guidance: as people use it.
    """

    kind: str
    options: Mapping[str, Any]
    home: str
    sampler: Sampler
    stands_in: bool = False
    steps: int = 8
    guidance: float = 5.0

    @property
    def file(self) -> dict[str, Any]:
        """What ``scheduler_config.json`` holds."""
        return {"_class_name": self.kind, **self.options}


def _of(home: str, kind: str, sampler: Sampler, options: Mapping[str, Any], **more: Any) -> FoundScheduler:
    return FoundScheduler(kind=f"{kind}Scheduler", options=options, home=home, sampler=sampler, **more)


DDIM, DPM, EULER, FLOW_EULER = Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M, Sampler.EULER, Sampler.FLOW_EULER
FEW: Mapping[str, Any] = {"steps": 4, "guidance": 0.0}
ONE: Mapping[str, Any] = {"steps": 1, "guidance": 0.0}

FOUND_SCHEDULERS: Mapping[str, FoundScheduler] = {
    # Stable Diffusion 1 and 2
    "sd 1.4": _of("sd", "PNDM", DDIM, STABLE, stands_in=True, steps=20),
    "sd 1.5": _of("sd", "PNDM", DDIM, UNCLIPPED, stands_in=True),
    "sd 1.5 tuned": _of("sd", "PNDM", DDIM, UNCLIPPED | {"timestep_spacing": "leading"}, stands_in=True),
    "sd first pndm": _of("sd", "PNDM", DDIM, LATENT | {"skip_prk_steps": True}, stands_in=True),
    "sd first ddim": _of("sd", "DDIM", DDIM, LATENT | {"set_alpha_to_one": False}),
    "sd clipping ddim": _of(
        "sd", "DDIM", DDIM, LATENT | {"set_alpha_to_one": False, "clip_sample": True, "steps_offset": 0}
    ),
    "sd lms": _of("sd", "LMSDiscrete", EULER, LATENT | {"trained_betas": None}, stands_in=True),
    "sd 2.1 base": _of("sd", "PNDM", DDIM, UNCLIPPED | {"prediction_type": "epsilon"}, stands_in=True),
    "sd 2.1": _of(
        "sd", "DDIM", DDIM, UNCLIPPED | {"_class_name": "FlaxDDIMScheduler", "prediction_type": "v_prediction"}
    ),
    "sd zero snr": _of(
        "sd",
        "DDIM",
        DDIM,
        UNCLIPPED | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ),
    "sd turbo": _of(
        "sd",
        "EulerDiscrete",
        EULER,
        LATENT | {"timestep_spacing": "trailing", "timestep_type": "discrete", "steps_offset": 1, "sigma_max": None},
        **ONE,
    ),
    "sd unipc": _of("sd", "UniPCMultistep", DPM, UNCLIPPED | {"solver_type": "bh2", "solver_order": 2}, stands_in=True),
    "sd deis": _of(
        "sd",
        "DEISMultistep",
        DPM,
        UNCLIPPED | {"algorithm_type": "deis", "solver_type": "logrho", "solver_order": 2, "use_karras_sigmas": False},
        stands_in=True,
    ),
    "sd dpm++ karras": _of(
        "sd", "DPMSolverMultistep", DPM, UNCLIPPED | SOLVER | {"use_karras_sigmas": True, "steps_offset": 1}
    ),
    "sd dpm++ leading": _of(
        "sd", "DPMSolverMultistep", DPM, UNCLIPPED | SOLVER | {"timestep_spacing": "leading", "steps_offset": 0}
    ),
    "sd single step": _of("sd", "DPMSolverSinglestep", DPM, UNCLIPPED | SOLVER, stands_in=True),
    "sd heun": _of("sd", "HeunDiscrete", EULER, UNCLIPPED | {"use_karras_sigmas": True}, stands_in=True),
    "sd lcm": _of(
        "sd",
        "LCM",
        Sampler.LCM,
        UNCLIPPED | {"original_inference_steps": 50, "timestep_scaling": 10.0, "timestep_spacing": "leading"},
        steps=4,
        guidance=1.5,
    ),
    # SDXL and its few-step descendants
    "sdxl": _of("sdxl", "EulerDiscrete", EULER, XL | {"timestep_spacing": "leading", "use_karras_sigmas": False}),
    "sdxl trailing": _of("sdxl", "EulerDiscrete", EULER, XL | {"timestep_spacing": "trailing"}, steps=20),
    "sdxl karras": _of("sdxl", "EulerDiscrete", EULER, XL | {"timestep_spacing": "leading", "use_karras_sigmas": True}),
    "sdxl exponential": _of("sdxl", "EulerDiscrete", EULER, XL | {"use_exponential_sigmas": True}),
    "sdxl ancestral": _of("sdxl", "EulerAncestralDiscrete", Sampler.EULER_ANCESTRAL, XL),
    "sdxl zero snr": _of(
        "sdxl",
        "EulerDiscrete",
        EULER,
        XL | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ),
    "sdxl dpm++ sde karras": _of(
        "sdxl",
        "DPMSolverMultistep",
        DPM,
        XL | SOLVER | {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
        stands_in=True,
    ),
    "sdxl dpm++ end": _of(
        "sdxl", "DPMSolverMultistep", DPM, XL | SOLVER | {"euler_at_final": True, "final_sigmas_type": "sigma_min"}
    ),
    "sdxl kdpm2 ancestral": _of("sdxl", "KDPM2AncestralDiscrete", EULER, XL, stands_in=True),
    "sdxl ddpm": _of("sdxl", "DDPM", DDIM, XL | {"timestep_spacing": "leading"}, stands_in=True),
    "sdxl turbo": _of(
        "sdxl", "EulerAncestralDiscrete", Sampler.EULER_ANCESTRAL, XL | {"timestep_spacing": "trailing"}, **FEW
    ),
    "sdxl lightning": _of("sdxl", "EulerDiscrete", EULER, XL | {"timestep_spacing": "trailing"}, **FEW),
    "sdxl hyper": _of("sdxl", "DDIM", DDIM, XL | {"timestep_spacing": "trailing"}, **FEW),
    "sdxl lcm": _of("sdxl", "LCM", Sampler.LCM, XL | {"original_inference_steps": 50}, steps=4, guidance=1.0),
    "sdxl tcd": _of("sdxl", "TCD", Sampler.TCD, XL | {"original_inference_steps": 50}, **FEW),
    "sdxl playground 2.5": _of(
        "sdxl",
        "EDMDPMSolverMultistep",
        DPM,
        EDM | {"prediction_type": "epsilon", "solver_order": 2, "final_sigmas_type": "zero"},
    ),
    "sdxl edm": _of("sdxl", "EDMEuler", EULER, EDM),
    "sdxl cosxl": _of(
        "sdxl",
        "EDMEuler",
        EULER,
        EDM
        | {"sigma_data": 1.0, "sigma_max": 120.0, "prediction_type": "v_prediction", "sigma_schedule": "exponential"},
    ),
    # PixArt
    "pixart": _of("pixart", "DPMSolverMultistep", DPM, PIXEL | SOLVER, steps=20),
    "pixart dpm++ sigma": _of(
        "sigma", "DPMSolverMultistep", DPM, PIXEL | SOLVER | {"final_sigmas_type": "zero", "euler_at_final": False}
    ),
    "pixart sa": _of("pixart", "SASolver", DPM, PIXEL, stands_in=True),
    "pixart lcm": _of("pixart", "LCM", Sampler.LCM, PIXEL | {"original_inference_steps": 50}, **FEW),
    "pixart tcd": _of("sigma", "TCD", Sampler.TCD, PIXEL | {"original_inference_steps": 50}, **FEW),
    "pixart clipping ddim": _of("pixart", "DDIM", DDIM, PIXEL),
    # DiT
    "dit": _of("dit", "DDIM", DDIM, PIXEL | {"clip_sample": False, "steps_offset": 0}, steps=20),
    "dit dpm++": _of("dit", "DPMSolverMultistep", DPM, PIXEL | SOLVER),
    "dit clipping": _of("dit", "DDIM", DDIM, PIXEL),
    # flow matching, of models whose families other packages may bring
    "flow sd 3": _of("", "FlowMatchEulerDiscrete", FLOW_EULER, {"num_train_timesteps": 1000, "shift": 3.0}),
    "flow flux": _of("", "FlowMatchEulerDiscrete", FLOW_EULER, FLOW | {"shift": 3.0, "use_dynamic_shifting": True}),
    "flow flux schnell": _of(
        "", "FlowMatchEulerDiscrete", FLOW_EULER, FLOW | {"shift": 1.0, "use_dynamic_shifting": False}
    ),
    "flow terminal": _of(
        "",
        "FlowMatchEulerDiscrete",
        FLOW_EULER,
        FLOW | {"shift": 1.0, "shift_terminal": 0.02, "use_dynamic_shifting": True, "time_shift_type": "exponential"},
    ),
}
