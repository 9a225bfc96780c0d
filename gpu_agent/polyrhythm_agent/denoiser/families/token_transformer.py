"""Diffusion transformers over square patches of the latent, run over a range of token rows.

Owns what PixArt and DiT share: sizes and facts, patch embedding of the own rows with the position embedding of the
whole picture cut at the row offset, the order of the layers, the way back to latents. Diffusers derives all of these
from a whole latent. What differs between families is a ``TokenForward``. Must not load files or know who holds other
rows.

Shape letters as in the ports; N own tokens, A all tokens, P patch size, F features of one token's patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel, PixArtTransformer2DModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from polyrhythm.job.image import ImageSpec, LongPrompt, Sampler
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.decoding import LatentScaling, decode_latent, latent_scale
from polyrhythm_agent.denoiser.guided_run import GuidedRun, batch_of, state_dtype_of
from polyrhythm_agent.denoiser.memory import token_memory
from polyrhythm_agent.denoiser.on_demand import OnDemand, module_bytes
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.denoiser import LayerSeam
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry

TokenTransformer: TypeAlias = PixArtTransformer2DModel | DiTTransformer2DModel

PIXELS_MAX_OF_TRAINED = 16
"""Largest picture as a multiple of the trained area; position embeddings stretch, but not without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenParts:
    """What every pipeline of such a transformer consists of; only the transformer is loaded.

    Attributes:
        transformer: the denoiser.
        vae: the autoencoder.
        scaling: of the latents that the autoencoder takes.
        sampling: what the scheduler config allows.
        fingerprint: of the folder.
    """

    transformer: TokenTransformer
    vae: OnDemand[AutoencoderKL]
    scaling: LatentScaling
    sampling: ModelSampling
    fingerprint: str


PartsT = TypeVar("PartsT", bound=TokenParts)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFamily:
    """What differs between these families for a user.

    Attributes:
        name: of the adapter.
        default_steps: steps when the user names none.
        default_guidance: guidance when the user names none.
        square_only: whether width and height must agree.
    """

    name: str
    default_steps: int
    default_guidance: float
    square_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptNeeds:
    """What it takes to turn a prompt into the condition.

    Attributes:
        token_limit: longest prompt in tokens, end mark included.
        condition_bytes: embeddings of a prompt and what every layer keeps of them, one batch element.
        text_encoders: all of them.
        encode_bytes: working memory of encoding one text.
        long_prompts: what may become of a longer one, beside a refusal.
    """

    token_limit: int
    condition_bytes: int
    text_encoders: tuple[OnDemand[Any], ...] = ()
    encode_bytes: int = 0
    long_prompts: tuple[LongPrompt, ...] = ()


class TokenForward(Protocol):
    """The condition of one picture, and how a family's blocks and head take it in."""

    def embed_step(self, timestep_B: Tensor) -> Any:
        """What blocks and head are told of a step; handed on as it is."""
        ...

    def block(self, index: int, tokens_BND: Tensor, told: Any, exchange: ActivationExchange) -> Tensor:
        """One block, ``(B, N, D)`` to the same."""
        ...

    def head(self, tokens_BND: Tensor, told: Any) -> Tensor:
        """``(B, N, F)``: the output channels of every token's patch, row by row, channels last."""
        ...


class TokenDenoiser(Generic[PartsT]):
    """The part of a ``Denoiser`` that does not depend on what the condition is.

    Raises:
        ModelFolderError: the transformer's channels are of no known make.
    """

    def __init__(self, model: str, family: TokenFamily, parts: PartsT, prompt: PromptNeeds) -> None:
        channels, out_channels = parts.transformer.config["in_channels"], parts.transformer.out_channels
        if out_channels not in {channels, 2 * channels}:
            raise ModelFolderError(f"transformer: {channels} channels in, {out_channels} out")
        self._parts = parts
        self.facts = _token_facts(model, family, parts, prompt)
        self.parts = (parts.vae, *prompt.text_encoders)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the transformer."""
        return self._parts.transformer.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """fp64 where the transformer computes in it, fp32 otherwise."""
        return state_dtype_of(self.compute_dtype)

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture."""
        transformer = self._parts.transformer
        scale, patch = latent_scale(self._parts.vae.outline), transformer.config["patch_size"]
        height, width = image.height_px // scale, image.width_px // scale
        return Geometry(
            row_count=height // patch,
            latent_rows_per_unit=patch,
            latent_channels=transformer.config["in_channels"],
            latent_height=height,
            latent_width=width,
            batch=batch_of(image),
            layers=(
                ExchangedLayer(
                    kind=LayerKind.TOKENS,
                    shrink=patch,
                    columns=width // patch,
                    features=transformer.inner_dim,
                    batch=batch_of(image),
                ),
            )
            * len(transformer.transformer_blocks),
        )

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Whether the schedule has so many steps for a sampler.

        Raises:
            InvalidArgumentError: it has not.
        """
        self._parts.sampling.check_steps(sampler, steps)

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Decodes ``(1, C, H, W)`` to ``(3, height, width)`` uint8 on the CPU.

        Raises:
            PictureNotFiniteError: the picture is none.
            PictureBlackError: it is black all over.
        """
        return decode_latent(self._parts.vae.module(), latent_BCHW, self._parts.scaling)

    def _run(self, image: ImageSpec, forward: TokenForward) -> TokenRun:
        """Computes what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        return TokenRun(parts=self._parts, image=image, geometry=self.geometry(image), forward=forward)


class TokenRun(GuidedRun):
    """One picture of such a transformer as ``DenoiserRun``."""

    def __init__(self, *, parts: TokenParts, image: ImageSpec, geometry: Geometry, forward: TokenForward) -> None:
        transformer = parts.transformer
        super().__init__(
            image=image,
            geometry=geometry,
            sampling=parts.sampling.start(
                image.sampler,
                image.steps,
                geometry.latent_rows_per_unit,
                image_tokens=geometry.row_count * geometry.layers[0].columns,
            ),
            device=transformer.device,
            compute_dtype=transformer.dtype,
        )
        self._transformer = transformer
        self._forward = forward
        self._position_AD = _position_embedding(transformer, geometry)
        self._tokens_per_row = geometry.layers[0].columns
        self._block_names = tuple(f"block.{index}" for index in range(len(transformer.transformer_blocks)))

    @torch.inference_mode()
    def predict(
        self,
        x_BCHW: Tensor,
        step: int,
        rows: RowRange,
        exchange: ActivationExchange,
        seam: LayerSeam,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The guided prediction for some rows; layers of the seam are ``embed``, ``block.0`` .. and ``head``."""
        del x0_BCHW  # a token sees other rows through keys and values only
        seam.begin_layer("embed")
        tokens_BND = self._embed_rows(x_BCHW, rows)
        told = self._forward.embed_step(self._timestep(step))
        tokens_BND = seam.end_layer("embed", tokens_BND)
        for index, name in enumerate(self._block_names):
            seam.begin_layer(name)
            tokens_BND = seam.end_layer(name, self._forward.block(index, tokens_BND, told, exchange))
        seam.begin_layer("head")
        return seam.end_layer("head", self._guide(self._unpatchify(self._forward.head(tokens_BND, told), rows)))

    def _embed_rows(self, x_BCHW: Tensor, rows: RowRange) -> Tensor:
        per_row = self._tokens_per_row
        own_BCHW = x_BCHW.to(self._transformer.dtype).expand(self.geometry.batch, -1, -1, -1)
        tokens_BND = self._transformer.pos_embed.proj(own_BCHW).flatten(2).transpose(1, 2)
        position_ND = self._position_AD[rows.begin * per_row : rows.end * per_row]
        return (tokens_BND + position_ND).to(tokens_BND.dtype)

    def _unpatchify(self, patches_BNF: Tensor, rows: RowRange) -> Tensor:
        patch = self.geometry.latent_rows_per_unit
        cells_BHWPPC = patches_BNF.reshape(
            -1, rows.count, self._tokens_per_row, patch, patch, self._transformer.out_channels
        )
        # A learned sigma is the second half of the channels; no sampler here reads it, and it is not guided.
        cells_BHWPPC = cells_BHWPPC[..., : self.geometry.latent_channels]
        return cells_BHWPPC.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _token_facts(model: str, family: TokenFamily, parts: TokenParts, prompt: PromptNeeds) -> ModelFacts:
    """What the coordinator is told of such a model.

    Args:
        model: name in requests.
        family: of the model.
        parts: of the model.
        prompt: what its texts take.
    """
    transformer, scale = parts.transformer, latent_scale(parts.vae.outline)
    patch, channels = transformer.config["patch_size"], transformer.config["in_channels"]
    side_px = transformer.config["sample_size"] * scale
    return ModelFacts(
        model=model,
        family=family.name,
        fingerprint=parts.fingerprint,
        dtype=str(transformer.dtype).removeprefix("torch."),
        samplers=tuple(sampler.value for sampler in parts.sampling.samplers),
        default_width_px=side_px,
        default_height_px=side_px,
        default_steps=family.default_steps,
        default_guidance=family.default_guidance,
        pixel_multiple=patch * scale,
        row_unit_px=patch * scale,
        pixels_max=PIXELS_MAX_OF_TRAINED * side_px**2,
        token_limit=prompt.token_limit,
        exchanged=(
            LayerGroup(
                kind=LayerKind.TOKENS,
                layers=len(transformer.transformer_blocks),
                cell_px=patch * scale,
                cell_bytes=2 * transformer.inner_dim * transformer.dtype.itemsize,
            ),
        ),
        token_px=patch * scale,
        latent_bytes_per_token=channels * patch**2 * torch.float32.itemsize,
        weights_bytes=module_bytes(transformer) + sum(each.size_bytes for each in (parts.vae, *prompt.text_encoders)),
        memory=token_memory(
            transformer,
            parts.vae.outline,
            prompt.text_encoders,
            encode_bytes=prompt.encode_bytes,
            condition_bytes=prompt.condition_bytes,
        ),
        square_only=family.square_only,
        full_rate_samplers=tuple(sampler.value for sampler in parts.sampling.full_rate_samplers),
        long_prompts=tuple(each.value for each in prompt.long_prompts),
        notices=parts.sampling.notices,
    )


def _position_embedding(transformer: TokenTransformer, geometry: Geometry) -> Tensor:
    """``(A, D)`` of the whole picture, as ``PatchEmbed`` makes it from a whole latent."""
    embedding = transformer.pos_embed
    rows, columns = geometry.row_count, geometry.layers[0].columns
    if (embedding.height, embedding.width) == (rows, columns):
        return embedding.get_buffer("pos_embed")[0]
    return get_2d_sincos_pos_embed(
        geometry.layers[0].features,
        (rows, columns),
        base_size=embedding.base_size,
        interpolation_scale=embedding.interpolation_scale,
        device=transformer.device,
    ).float()
