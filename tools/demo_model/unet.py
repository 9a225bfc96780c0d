"""The convolutional one among the demo models: the UNet of Stable Diffusion, small, with a CLIP encoder.

Owns the denoiser's shape and start, and its pipeline.

Shape legend: B pictures, C latent channels, H, W latent pixels, L tokens, D text channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.attention import MatrixProductAttention
from demo_model.clip import LENGTH, WIDTH, new_clip_tokenizer
from demo_model.clip_training import train_clip_encoder
from demo_model.family import Schedule
from demo_model.noise import SCHEDULE
from demo_model.text import TokenTable

CHANNELS = (32, 64, 128)
HEADS = (1, 2, 4)
GROUPS = 16


def new_unet() -> UNet2DConditionModel:
    """An untrained denoiser: three levels, two down-samplings, 4.2 M parameters, attention at the lower two levels."""
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=HEADS,  # the number of heads, as in every published UNet of Stable Diffusion
        norm_num_groups=GROUPS,
    )
    _start_as_identity(unet)
    return unet


@torch.no_grad()
def _start_as_identity(unet: UNet2DConditionModel) -> None:
    """Every residual branch starts at zero (Dhariwal and Nichol 2021, appendix on the architecture)."""
    last: list[Any] = [unet.conv_out]
    last += [module.conv2 for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    last += [module.proj_out for module in unet.modules() if isinstance(module, Transformer2DModel)]
    for layer in last:
        layer.weight.zero_()
        layer.bias.zero_()


class UnetFamily:
    """The UNet: see ``Family`` for what each member is for."""

    component = "unet"
    schedule = Schedule(small_batch=64, large_batch=32, small_steps=1000, steps=3200, decay_steps=480, peak_rate=2e-3)
    card_template = Path(__file__).with_name("card_unet.md")
    pipeline_class = StableDiffusionPipeline

    def new_denoiser(self) -> UNet2DConditionModel:
        """``new_unet``, with the attention that trains fast."""
        return self._trainable(new_unet())

    def load_denoiser(self, folder: Path) -> UNet2DConditionModel:
        """The UNet of an exported model, in float32."""
        return UNet2DConditionModel.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)

    def muon_weights(self, denoiser: UNet2DConditionModel) -> list[nn.Parameter]:
        """Everything with two or more dimensions but the first and the last layer and the timestep's."""
        outer = [denoiser.conv_in, denoiser.conv_out, denoiser.time_embedding]
        excluded = {id(p) for module in outer for p in module.parameters()}
        return [p for p in denoiser.parameters() if p.ndim >= 2 and id(p) not in excluded]

    def predict_noise(
        self, denoiser: nn.Module, noisy_BCHW: Tensor, timestep_B: Tensor, text_BLD: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """The output; the mask is all ones, since the pipeline lets padding count, too."""
        del mask_BL
        return denoiser(noisy_BCHW, timestep_B, encoder_hidden_states=text_BLD, return_dict=False)[0]

    def new_tokenizer(self) -> CLIPTokenizer:
        """A tokenizer of the captions' words."""
        return new_clip_tokenizer()

    def token_table(self, tokenizer: CLIPTokenizer) -> TokenTable:
        """Captions padded to the encoder's length, as the pipeline pads them."""
        return TokenTable(tokenizer, length=LENGTH, padding_counts=True)

    def train_text_encoder(self, tokenizer: CLIPTokenizer, *, seed: int, threads: int) -> CLIPTextModel:
        """A few minutes on one core."""
        return train_clip_encoder(tokenizer, self.token_table(tokenizer), seed=seed, threads=threads)

    def load_text_encoder(self, folder: Path) -> CLIPTextModel:
        """The text encoder saved in ``folder``, in float32."""
        return CLIPTextModel.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)

    def new_pipeline(
        self, vae: AutoencoderKL, text_encoder: CLIPTextModel, denoiser: UNet2DConditionModel
    ) -> StableDiffusionPipeline:
        """With DDIM, without a safety checker: the model can draw nothing but its emoji."""
        # Any: the pipeline declares the parts that it does without as required.
        nothing: Any = None
        return StableDiffusionPipeline(
            tokenizer=new_clip_tokenizer(),
            text_encoder=text_encoder,
            vae=vae,
            unet=denoiser,
            scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, steps_offset=1, timestep_spacing="trailing"),
            safety_checker=nothing,
            feature_extractor=nothing,
            requires_safety_checker=False,
        )

    def sampling_arguments(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @staticmethod
    def _trainable(unet: UNet2DConditionModel) -> UNet2DConditionModel:
        unet.set_attn_processor(MatrixProductAttention())
        return unet
