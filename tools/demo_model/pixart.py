"""The transformer among the demo models: PixArt with a T5 encoder.

Owns the denoiser's shape and start, and its pipeline.

Shape legend: B pictures, C latent channels, H, W latent pixels, L tokens, D text channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
from torch import Tensor, nn
from transformers import T5EncoderModel, T5Tokenizer

from demo_model.attention import MatrixProductAttention
from demo_model.family import Schedule
from demo_model.noise import SCHEDULE
from demo_model.text import MAX_TOKENS, WIDTH, TokenTable, new_tokenizer
from demo_model.text_training import train_t5_encoder


def new_transformer() -> PixArtTransformer2DModel:
    """An untrained denoiser: 6 blocks of width 256, 7 M parameters, 16 x 16 tokens for a 128 px picture.

    Eight output channels as in the published PixArt weights; samplers ignore the last four, and here they stay zero.
    """
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=64,
        in_channels=4,
        out_channels=8,
        num_layers=6,
        cross_attention_dim=256,
        sample_size=32,
        patch_size=2,
        caption_channels=WIDTH,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    _start_as_identity(transformer)
    return transformer


@torch.no_grad()
def _start_as_identity(transformer: PixArtTransformer2DModel) -> None:
    """Initialise as DiT does (Peebles and Xie 2023, section 3.2): every residual branch starts at zero."""
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for block in transformer.transformer_blocks:
        block.scale_shift_table.zero_()
        block.attn2.to_out[0].weight.zero_()
    for layer in (transformer.adaln_single.linear, transformer.proj_out):
        layer.weight.zero_()
        layer.bias.zero_()
    for layer in (
        transformer.adaln_single.emb.timestep_embedder.linear_1,
        transformer.adaln_single.emb.timestep_embedder.linear_2,
    ):
        nn.init.normal_(layer.weight, std=0.02)


class PixArtFamily:
    """PixArt: see ``Family`` for what each member is for."""

    component = "transformer"
    schedule = Schedule(small_batch=64, large_batch=32, small_steps=4200, steps=6200, decay_steps=1200, peak_rate=3e-3)
    card_template = Path(__file__).with_name("card.md")
    pipeline_class = PixArtAlphaPipeline

    def new_denoiser(self) -> PixArtTransformer2DModel:
        """``new_transformer``, with the attention that trains fast."""
        return self._trainable(new_transformer())

    def load_denoiser(self, folder: Path) -> PixArtTransformer2DModel:
        """The transformer of an exported model, in float32."""
        return PixArtTransformer2DModel.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)

    def muon_weights(self, denoiser: PixArtTransformer2DModel) -> list[nn.Parameter]:
        """The blocks' matrices; their tables of shifts are wide, but none."""
        return [p for p in denoiser.transformer_blocks.parameters() if p.ndim == 2 and p.shape[0] >= 256]

    def predict_noise(
        self, denoiser: nn.Module, noisy_BCHW: Tensor, timestep_B: Tensor, text_BLD: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """The first half of the output channels."""
        output_BCHW = denoiser(
            noisy_BCHW,
            encoder_hidden_states=text_BLD,
            encoder_attention_mask=mask_BL,
            timestep=timestep_B,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return output_BCHW[:, : noisy_BCHW.shape[1]]

    def new_tokenizer(self) -> T5Tokenizer:
        """A tokenizer of the captions' words."""
        return new_tokenizer()

    def token_table(self, tokenizer: T5Tokenizer) -> TokenTable:
        """Captions cut to the longest of a batch; padding does not count."""
        return TokenTable(tokenizer, length=MAX_TOKENS, padding_counts=False)

    def train_text_encoder(self, tokenizer: T5Tokenizer, *, seed: int, threads: int) -> T5EncoderModel:
        """A minute on one core."""
        return train_t5_encoder(tokenizer, self.token_table(tokenizer), seed=seed, threads=threads)

    def load_text_encoder(self, folder: Path) -> T5EncoderModel:
        """The text encoder saved in ``folder``, in float32."""
        return T5EncoderModel.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)

    def new_pipeline(
        self, vae: AutoencoderKL, text_encoder: T5EncoderModel, denoiser: PixArtTransformer2DModel
    ) -> PixArtAlphaPipeline:
        """With the sampler that PixArt ships with."""
        return PixArtAlphaPipeline(
            tokenizer=new_tokenizer(),
            text_encoder=text_encoder,
            vae=vae,
            transformer=denoiser,
            scheduler=DPMSolverMultistepScheduler(**SCHEDULE),
        )

    def sampling_arguments(self) -> dict[str, Any]:
        """No rounding to the sizes that the published PixArt was trained on, no cleaning of captions."""
        return {"use_resolution_binning": False, "clean_caption": False, "max_sequence_length": MAX_TOKENS}

    @staticmethod
    def _trainable(transformer: PixArtTransformer2DModel) -> PixArtTransformer2DModel:
        transformer.set_attn_processor(MatrixProductAttention())
        return transformer
