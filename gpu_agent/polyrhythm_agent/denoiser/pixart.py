"""The PixArt family (Chen et al. 2023): a diffusion transformer over a range of token rows.

Owns the top-level forward, which diffusers derives from a whole latent: patch embedding of the own rows, position
embedding of the whole picture cut at the row offset, blocks, head. The model's submodules are untouched but for their
attention processors. Must not load files or know who holds other rows.

Shape letters as in the ports; L text tokens, T width of a text embedding, N own tokens, A all tokens, P patch size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from polyrhythm.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.facts import ModelFacts
from polyrhythm.image import ImageSpec, check_image
from polyrhythm.rows import RowRange
from polyrhythm_agent.denoiser.attention import PatchContext, TextAttention, project_text, set_patch_processors
from polyrhythm_agent.denoiser.decoding import decode_latent, latent_scale
from polyrhythm_agent.denoiser.sampling import ModelSampling, PictureSampling
from polyrhythm_agent.denoiser.text import T5Text
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports import ActivationExchange, ExchangedLayer, Geometry, LayerSeam

FAMILY = "pixart"
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 4.5
PIXELS_MAX_OF_TRAINED = 16
"""Largest picture as a multiple of the trained area; position embeddings stretch, but not without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixArtParts:
    """A loaded pipeline.

    Attributes:
        transformer: the denoiser.
        vae: the autoencoder.
        text: tokenizer and encoder.
        sampling: what the scheduler config allows.
        fingerprint: of the folder.
    """

    transformer: PixArtTransformer2DModel
    vae: AutoencoderKL
    text: T5Text
    sampling: ModelSampling
    fingerprint: str


class PixArtDenoiser:
    """A PixArt model as ``Denoiser``.

    Raises:
        ModelFolderError: the transformer is of a make that this adapter does not know.
    """

    def __init__(self, *, model: str, parts: PixArtParts) -> None:
        _check_make(parts.transformer)
        for layer, block in enumerate(parts.transformer.transformer_blocks):
            set_patch_processors(layer, block.attn1, block.attn2)
        self._parts = parts
        self.facts = _facts(model, parts)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the transformer."""
        return self._parts.transformer.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """fp64 where the transformer computes in it, fp32 otherwise."""
        return torch.float64 if self.compute_dtype is torch.float64 else torch.float32

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture."""
        config = self._parts.transformer.config
        scale, patch = latent_scale(self._parts.vae), config["patch_size"]
        height, width = image.height_px // scale, image.width_px // scale
        return Geometry(
            row_count=height // patch,
            latent_rows_per_unit=patch,
            latent_channels=config["in_channels"],
            latent_height=height,
            latent_width=width,
            batch=_batch(image),
            layers=(
                ExchangedLayer(
                    kind=LayerKind.TOKENS,
                    shrink=patch,
                    columns=width // patch,
                    features=self._parts.transformer.inner_dim,
                    batch=_batch(image),
                ),
            )
            * len(self._parts.transformer.transformer_blocks),
        )

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, end mark included, without truncation."""
        return self._parts.text.count_tokens(text)

    @torch.inference_mode()
    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """``text_BLT`` in the state dtype and ``mask_BL`` int64; with guidance the negative prompt comes first.

        Raises:
            InvalidArgumentError: the image breaks a limit of the model, or a prompt is too long.
        """
        check_image(image, self.facts)
        self._parts.text.check_length(prompt=image.prompt, negative_prompt=image.negative_prompt)
        texts = (image.negative_prompt, image.prompt)[-_batch(image) :]
        encoded = [self._parts.text.encode(text) for text in texts]
        return {
            # The state dtype, so that agents of different compute dtypes can hand embeddings to one another.
            "text_BLT": torch.cat([text for text, _ in encoded]).to(self.state_dtype),
            "mask_BL": torch.cat([mask for _, mask in encoded]),
        }

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Uninitialised tensors like those of ``encode``."""
        shape, device = (_batch(image), self.facts.token_limit), self._parts.transformer.device
        return {
            "text_BLT": torch.empty((*shape, self._parts.text.width), dtype=self.state_dtype, device=device),
            "mask_BL": torch.empty(shape, dtype=torch.int64, device=device),
        }

    @torch.inference_mode()
    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> PixArtRun:
        """Projects the text for every layer and computes what depends on the picture's size alone.

        Raises:
            InvalidArgumentError: the model's schedule has not so many steps.
        """
        transformer, geometry = self._parts.transformer, self.geometry(image)
        text_BLD = condition["text_BLT"].to(self.compute_dtype)
        if transformer.caption_projection is not None:
            text_BLD = transformer.caption_projection(text_BLD)
        mask_BL = condition["mask_BL"]
        return PixArtRun(
            transformer=transformer,
            image=image,
            geometry=geometry,
            sampling=self._parts.sampling.start(image.sampler, image.steps, geometry.latent_rows_per_unit),
            text=[project_text(block.attn2, text_BLD, mask_BL) for block in transformer.transformer_blocks],
            position_AD=_position_embedding(transformer, geometry),
            state_dtype=self.state_dtype,
        )

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Decodes ``(1, C, H, W)`` to ``(3, height, width)`` uint8 on the CPU.

        Raises:
            PictureNotFiniteError: the picture is none.
        """
        return decode_latent(self._parts.vae, latent_BCHW)


class PixArtRun:
    """One picture of a PixArt model as ``DenoiserRun``."""

    def __init__(
        self,
        *,
        transformer: PixArtTransformer2DModel,
        image: ImageSpec,
        geometry: Geometry,
        sampling: PictureSampling,
        text: Sequence[TextAttention],
        position_AD: Tensor,
        state_dtype: torch.dtype,
    ) -> None:
        self.geometry = geometry
        self._transformer = transformer
        self._image = image
        self._sampling = sampling
        self._text = text
        self._position_AD = position_AD
        self._state_dtype = state_dtype
        self._timestep_M = torch.tensor(sampling.grid.timesteps, device=transformer.device)
        self._size_condition = _size_condition(transformer, image)
        self._tokens_per_row = geometry.layers[0].columns
        self._block_names = tuple(f"block.{index}" for index in range(len(geometry.layers)))

    def initial_noise(self) -> Tensor:
        """``(1, C, H, W)``; drawn in fp32 on the CPU whatever the device and the state dtype are."""
        size = self.geometry
        generator = torch.Generator("cpu").manual_seed(self._image.seed)
        noise_BCHW = torch.randn(
            (1, size.latent_channels, size.latent_height, size.latent_width), generator=generator, dtype=torch.float32
        )
        return noise_BCHW.to(self._transformer.device, self._state_dtype)

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
        del x0_BCHW  # attention looks at all rows through keys and values only
        patch = PatchContext(exchange=exchange, text=self._text)
        seam.begin_layer("embed")
        tokens_BND = self._embed_rows(x_BCHW, rows)
        modulation_BF, timestep_BD = self._embed_timestep(step)
        tokens_BND = seam.end_layer("embed", tokens_BND)
        for name, block in zip(self._block_names, self._transformer.transformer_blocks, strict=True):
            seam.begin_layer(name)
            tokens_BND = block(tokens_BND, timestep=modulation_BF, cross_attention_kwargs={"patch": patch})
            tokens_BND = seam.end_layer(name, tokens_BND)
        seam.begin_layer("head")
        return seam.end_layer("head", self._guide(self._unpatchify(tokens_BND, timestep_BD, rows)))

    @torch.inference_mode()
    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """One sampler update of a patch."""
        return self._sampling.advance(x_BCHW, prediction_BCHW, step, next_step, history_x0_BCHW, history_steps)

    def _embed_rows(self, x_BCHW: Tensor, rows: RowRange) -> Tensor:
        embedding = self._transformer.pos_embed
        per_row = self._tokens_per_row
        own_BCHW = x_BCHW.to(self._transformer.dtype).expand(self.geometry.batch, -1, -1, -1)
        tokens_BND = embedding.proj(own_BCHW).flatten(2).transpose(1, 2)
        position_ND = self._position_AD[rows.begin * per_row : rows.end * per_row]
        return (tokens_BND + position_ND).to(tokens_BND.dtype)

    def _embed_timestep(self, step: int) -> tuple[Tensor, Tensor]:
        batch = self.geometry.batch
        return self._transformer.adaln_single(
            self._timestep_M[step].expand(batch),
            self._size_condition,
            batch_size=batch,
            hidden_dtype=self._transformer.dtype,
        )

    def _unpatchify(self, tokens_BND: Tensor, timestep_BD: Tensor, rows: RowRange) -> Tensor:
        transformer, patch = self._transformer, self.geometry.latent_rows_per_unit
        shift_B1D, scale_B1D = (transformer.scale_shift_table[None] + timestep_BD[:, None]).chunk(2, dim=1)
        tokens_BND = transformer.norm_out(tokens_BND) * (1 + scale_B1D) + shift_B1D
        cells_BHWPPC = transformer.proj_out(tokens_BND).reshape(
            -1, rows.count, self._tokens_per_row, patch, patch, transformer.out_channels
        )
        # A learned sigma is the second half of the channels; no sampler here reads it.
        cells_BHWPPC = cells_BHWPPC[..., : self.geometry.latent_channels]
        return cells_BHWPPC.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def _guide(self, prediction_BCHW: Tensor) -> Tensor:
        prediction_BCHW = prediction_BCHW.to(self._state_dtype)
        if self.geometry.batch == 1:
            return prediction_BCHW
        negative_BCHW, positive_BCHW = prediction_BCHW.chunk(2)
        return negative_BCHW + self._image.guidance * (positive_BCHW - negative_BCHW)


def _batch(image: ImageSpec) -> int:
    return 2 if image.guidance > 1.0 else 1


def _position_embedding(transformer: PixArtTransformer2DModel, geometry: Geometry) -> Tensor:
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


def _size_condition(transformer: PixArtTransformer2DModel, image: ImageSpec) -> dict[str, Tensor | None]:
    """Size and aspect ratio of the whole picture, for models trained with them."""
    if not transformer.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    batch, place = _batch(image), {"dtype": transformer.dtype, "device": transformer.device}
    return {
        "resolution": torch.tensor([[image.height_px, image.width_px]], **place).repeat(batch, 1),
        "aspect_ratio": torch.tensor([[image.height_px / image.width_px]], **place).repeat(batch, 1),
    }


def _check_make(transformer: PixArtTransformer2DModel) -> None:
    config = transformer.config
    channels = config["in_channels"]
    if transformer.out_channels not in {channels, 2 * channels}:
        raise ModelFolderError(f"transformer: {channels} channels in, {transformer.out_channels} out")
    if config["attention_type"] != "default":
        raise ModelFolderError(f"transformer: attention_type {config['attention_type']!r} is not supported")


def _facts(model: str, parts: PixArtParts) -> ModelFacts:
    transformer, scale = parts.transformer, latent_scale(parts.vae)
    patch, channels = transformer.config["patch_size"], transformer.config["in_channels"]
    side_px = transformer.config["sample_size"] * scale
    modules = (transformer, parts.vae, parts.text.encoder)
    return ModelFacts(
        model=model,
        family=FAMILY,
        fingerprint=parts.fingerprint,
        dtype=str(transformer.dtype).removeprefix("torch."),
        samplers=tuple(sampler.value for sampler in parts.sampling.samplers),
        default_width_px=side_px,
        default_height_px=side_px,
        default_steps=DEFAULT_STEPS,
        default_guidance=DEFAULT_GUIDANCE,
        pixel_multiple=patch * scale,
        row_unit_px=patch * scale,
        pixels_max=PIXELS_MAX_OF_TRAINED * side_px**2,
        token_limit=parts.text.token_limit,
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
        weights_bytes=sum(t.nbytes for m in modules for t in (*m.parameters(), *m.buffers())),
    )
