"""Plain diffusers in one process: the pictures that everything else is held against.

A pipeline is loaded from its folder as a user loads it, and keeps the scheduler that it comes with wherever that can
run. Owns nothing of this project's arithmetic. The fp64 schedulers differ from diffusers' only in precision: those read
their tables in fp32, and DPM-Solver++ casts the latent to fp32 at every step, which would hide what fp64 is to show.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DiTPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor, nn

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import Sampler


class DoubleDdimScheduler(DDIMScheduler):
    """Diffusers' DDIM with its fp32 tables held in fp64, so that coefficients are computed in fp64."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.alphas_cumprod = self.alphas_cumprod.double()
        self.final_alpha_cumprod = self.final_alpha_cumprod.double()


class DoubleDpmSolverScheduler(DPMSolverMultistepScheduler):
    """Diffusers' DPM-Solver++ 2M with its fp32 sigmas held in fp64 and without its cast of the latent to fp32."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.sigmas = self.sigmas.double()

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, *, return_dict: bool = True, **_unused: Any
    ) -> Any:
        if self.step_index is None:
            self._init_step_index(timestep)
        assert self.step_index is not None
        steps, config = len(self.timesteps), self.config
        ends_first_order = self.step_index == steps - 1 and (
            config["euler_at_final"]
            or (config["lower_order_final"] and steps < 15)
            or config["final_sigmas_type"] == "zero"
        )
        x0 = self.convert_model_output(model_output, sample=sample)
        self.model_outputs = [self.model_outputs[-1], x0]
        if self.lower_order_nums < 1 or ends_first_order:
            advanced = self.dpm_solver_first_order_update(x0, sample=sample)
        else:
            advanced = self.multistep_dpm_solver_second_order_update(self.model_outputs, sample=sample)
        self.lower_order_nums = 1
        self._step_index = self.step_index + 1
        return SchedulerOutput(prev_sample=advanced) if return_dict else (advanced,)


class DoubleEulerScheduler(EulerDiscreteScheduler):
    """Diffusers' Euler with its fp32 sigmas held in fp64 and without its cast of the latent to fp32."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.sigmas = self.sigmas.double()

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **_unused: Any) -> tuple[Tensor]:
        if self.step_index is None:
            self._init_step_index(timestep)
        assert self.step_index is not None
        sigma, sigma_to = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        x0 = denoised(self.config["prediction_type"], model_output, sample, sigma)
        self._step_index = self.step_index + 1
        return (sample + (sample - x0) / sigma * (sigma_to - sigma),)


class DoubleEulerAncestralScheduler(EulerAncestralDiscreteScheduler):
    """Diffusers' ancestral Euler in fp64, but for its noise, which is drawn in fp32 as for an fp32 model."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.sigmas = self.sigmas.double()

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | None = None,
        **_unused: Any,
    ) -> tuple[Tensor]:
        if self.step_index is None:
            self._init_step_index(timestep)
        assert self.step_index is not None
        sigma, sigma_to = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        x0 = denoised(self.config["prediction_type"], model_output, sample, sigma)
        up = (sigma_to**2 * (sigma**2 - sigma_to**2) / sigma**2) ** 0.5
        down = (sigma_to**2 - up**2) ** 0.5
        fresh = torch.randn(sample.shape, generator=generator, dtype=torch.float32).to(sample.dtype)
        self._step_index = self.step_index + 1
        return (sample + (sample - x0) / sigma * (down - sigma) + fresh * up,)


def denoised(prediction_type: str, model_output: Tensor, sample: Tensor, sigma: Tensor) -> Tensor:
    """x0 where x = x0 + sigma * noise, by k-diffusion's scalings."""
    match prediction_type:
        case "epsilon":
            return sample - sigma * model_output
        case "v_prediction":
            return model_output * (-sigma / (sigma**2 + 1) ** 0.5) + sample / (sigma**2 + 1)
        case "sample":
            return model_output
        case _:
            raise ValueError(f"no such prediction type: {prediction_type}")


class FlowScheduler(FlowMatchEulerDiscreteScheduler):
    """Diffusers' flow-matching Euler with what PixArt's pipeline asks of a scheduler beyond it."""

    init_noise_sigma = 1.0
    image_tokens = 0

    def scale_model_input(self, sample: Tensor, _timestep: Any) -> Tensor:
        return sample

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        config = self.config
        if config["use_dynamic_shifting"]:
            keys = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
            kwargs["mu"] = calculate_shift(self.image_tokens, *(config[key] for key in keys))
        super().set_timesteps(*args, **kwargs)


class DoubleFlowScheduler(FlowScheduler):
    """The same with its fp32 sigmas held in fp64 and without its cast of the latent to fp32."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.sigmas = self.sigmas.double()

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **_unused: Any) -> tuple[Tensor]:
        if self.step_index is None:
            self._init_step_index(timestep)
        assert self.step_index is not None
        sigma, sigma_to = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        self._step_index = self.step_index + 1
        return (sample + (sigma_to - sigma) * model_output,)


class DoubleTcdScheduler(TCDScheduler):
    """Diffusers' TCD with its fp32 tables held in fp64."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.alphas_cumprod = self.alphas_cumprod.double()


SCHEDULERS: dict[Sampler, dict[torch.dtype, Any]] = {
    Sampler.DDIM: {torch.float32: DDIMScheduler, torch.float64: DoubleDdimScheduler},
    Sampler.DPM_SOLVER_PP_2M: {torch.float32: DPMSolverMultistepScheduler, torch.float64: DoubleDpmSolverScheduler},
    Sampler.EULER: {torch.float32: EulerDiscreteScheduler, torch.float64: DoubleEulerScheduler},
    Sampler.EULER_ANCESTRAL: {
        torch.float32: EulerAncestralDiscreteScheduler,
        torch.float64: DoubleEulerAncestralScheduler,
    },
    Sampler.FLOW_EULER: {torch.float32: FlowScheduler, torch.float64: DoubleFlowScheduler},
    Sampler.LCM: {torch.float32: LCMScheduler},  # in fp64 it draws other noise
    Sampler.TCD: {torch.float32: TCDScheduler, torch.float64: DoubleTcdScheduler},
}


def plain_pipeline(folder: Path, sampler: Sampler, dtype: torch.dtype = torch.float32) -> Any:
    """The folder as a diffusers pipeline with a scheduler for the given sampler: its own, or one made of its config."""
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    pipeline.to(dtype)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler_for(pipeline.scheduler, sampler, dtype)
    return pipeline


def scheduler_for(own: Any, sampler: Sampler, dtype: torch.dtype) -> Any:
    """A pipeline's own scheduler if that is the sampler's; one made of its config, as a user makes it, if it is not."""
    kind = SCHEDULERS[sampler][dtype]
    if type(own) is kind:
        return own
    if issubclass(kind, type(own)):  # the same in fp64: all that the pipeline has set stays
        return kind.from_config({key: value for key, value in own.config.items() if key != "_use_default_values"})
    # DDIM would clip to [-1, 1] in the place of a scheduler that never clips.
    unclipped = {"clip_sample": False} if sampler is Sampler.DDIM and "clip_sample" not in own.config else {}
    return kind.from_config(own.config, **unclipped)


@torch.inference_mode()
def plain_latent(pipeline: Any, spec: ImageSpec, like_BCHW: Tensor) -> Tensor:
    """The clean latent ``(1, C, H, W)`` of the pipeline's own loop; of the given one only shape and dtype count.

    The unit noise is drawn here, in fp32, and the pipeline goes on with the same generator. In fp32 that is what the
    pipeline does by itself.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    noise_BCHW = torch.randn(like_BCHW.shape, generator=generator, dtype=torch.float32).to(like_BCHW.dtype)
    if isinstance(pipeline, DiTPipeline):
        return _class_latent(pipeline, spec, noise_BCHW)
    # SDXL's takes an empty text for one that is encoded, not for none.
    own: dict[str, Any] = {"negative_prompt": spec.negative_prompt or None}
    if "transformer" in pipeline.components:
        pipeline.scheduler.image_tokens = noise_BCHW[0, 0].numel() // pipeline.transformer.config.patch_size**2
        own = {"negative_prompt": spec.negative_prompt, "clean_caption": False, "use_resolution_binning": False}
    return pipeline(
        spec.prompt,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        height=spec.height_px,
        width=spec.width_px,
        latents=noise_BCHW,
        generator=generator,
        output_type="latent",
        **own,
    ).images


def _class_latent(pipeline: Any, spec: ImageSpec, noise_BCHW: Tensor) -> Tensor:
    """DiT's pipeline takes no latents and returns none: they come in at the first scaling and go out at the decoder."""
    scale, decoder = pipeline.scheduler.scale_model_input, _LatentSink()
    noises = iter([noise_BCHW])

    def scale_or_begin(sample_BCHW: Tensor, timestep: Any = None) -> Tensor:
        noise = next(noises, None)
        return scale(sample_BCHW if noise is None else noise.expand(len(sample_BCHW), -1, -1, -1), timestep)

    plain_vae, pipeline.vae = pipeline.vae, decoder
    pipeline.scheduler.scale_model_input = scale_or_begin
    pipeline([class_of(pipeline, spec.prompt)], spec.guidance, None, spec.steps, output_type="pt")
    pipeline.vae = plain_vae
    del pipeline.scheduler.scale_model_input
    return decoder.latent_BCHW


def class_of(pipeline: Any, prompt: str) -> int:
    """The class that the pipeline itself finds for a label, or the number that stands there."""
    return int(prompt) if prompt.isdecimal() else pipeline.get_label_ids([prompt])[0]


class _LatentSink(nn.Module):
    """In place of an autoencoder: keeps what it is to decode."""

    config = SimpleNamespace(scaling_factor=1.0)
    device = torch.device("cpu")

    def decode(self, latent_BCHW: Tensor) -> Any:
        self.latent_BCHW = latent_BCHW
        return SimpleNamespace(sample=latent_BCHW)


class SplitGuidance(nn.Module):
    """A denoiser that runs the two halves of guidance one after the other instead of as one batch."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config
        self.dtype = inner.dtype
        self.device = inner.device
        self.add_embedding = getattr(inner, "add_embedding", None)

    def forward(self, latent: Tensor, timestep: Tensor, *, return_dict: bool = True, **conditions: Any) -> Any:
        halves = [
            self.inner(latent[one], timestep=_cut(timestep, one), return_dict=False, **_cut(conditions, one))[0]
            for one in (slice(index, index + 1) for index in range(len(latent)))
        ]
        return Transformer2DModelOutput(sample=torch.cat(halves)) if return_dict else (torch.cat(halves),)


def _cut(value: Any, part: slice) -> Any:
    """A part of a batch, of all tensors that have one."""
    if isinstance(value, dict):
        return {name: _cut(each, part) for name, each in value.items()}
    return value[part] if isinstance(value, Tensor) and value.ndim else value


def relative_difference(a_BCHW: Tensor, b_BCHW: Tensor) -> float:
    """Largest difference over max(1, largest value of the second): what every tolerance here refers to."""
    return float((a_BCHW.double() - b_BCHW.double()).abs().max() / max(1.0, float(b_BCHW.abs().max())))
