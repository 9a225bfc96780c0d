"""What the two demo models differ in: the port between the training and one architecture.

Owns the list of what an architecture has to say about itself. Must not know any of them.

Shape legend: B pictures, C latent channels, H, W latent pixels, L tokens, D text channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from diffusers import AutoencoderKL, DiffusionPipeline
from torch import Tensor, nn

from demo_model.text import TokenTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The course of a training that suits an architecture, unless the command line says otherwise.

    Attributes:
        small_batch: Pictures of 64 px a step.
        large_batch: Pictures of 128 px a step.
        small_steps: Steps on 64 px pictures.
        steps: All steps together; the rest is on 128 px.
        decay_steps: Length of the final linear decay to zero.
        peak_rate: Learning rate of the plateau.
    """

    small_batch: int
    large_batch: int
    small_steps: int
    steps: int
    decay_steps: int
    peak_rate: float


class Family(Protocol):
    """One architecture: a denoiser with the text encoder, the pipeline and the card that belong to it."""

    @property
    def component(self) -> str:
        """The denoiser's name in its pipeline, which is its folder's name, too."""
        ...

    @property
    def schedule(self) -> Schedule:
        """How it is trained."""
        ...

    @property
    def card_template(self) -> Path:
        """The words of its card."""
        ...

    @property
    def pipeline_class(self) -> type[DiffusionPipeline]:
        """The pipeline of diffusers that an export is loaded with."""
        ...

    def new_denoiser(self) -> nn.Module:
        """An untrained denoiser, ready to be trained."""
        ...

    def load_denoiser(self, folder: Path) -> nn.Module:
        """The denoiser of an exported model, in float32."""
        ...

    def muon_weights(self, denoiser: Any) -> list[nn.Parameter]:
        """The weights that are matrices by nature, convolution kernels included; Muon trains these."""
        ...

    def predict_noise(
        self, denoiser: nn.Module, noisy_BCHW: Tensor, timestep_B: Tensor, text_BLD: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """The noise that the denoiser sees in ``noisy_BCHW``, given the captions' text states."""
        ...

    def new_tokenizer(self) -> Any:
        """A tokenizer of the captions' words."""
        ...

    def token_table(self, tokenizer: Any) -> TokenTable:
        """The tokens of all captions."""
        ...

    def train_text_encoder(self, tokenizer: Any, *, seed: int, threads: int) -> Any:
        """A trained text encoder, a matter of minutes."""
        ...

    def load_text_encoder(self, folder: Path) -> Any:
        """The text encoder saved in ``folder``, in float32."""
        ...

    def new_pipeline(self, vae: AutoencoderKL, text_encoder: Any, denoiser: Any) -> DiffusionPipeline:
        """The pipeline around the trained parts."""
        ...

    def sampling_arguments(self) -> dict[str, Any]:
        """What a call of the pipeline needs beyond prompt, size, steps, guidance and generator."""
        ...
