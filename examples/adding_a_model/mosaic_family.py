"""A model family in one file: a very small transformer over 8x8 tiles of pixels, told a class.

It is not trained and paints noise; it is here to show every part that a family has. docs/adding-a-model.md walks
through it. What a family must get right is that a patch of rows sees exactly what it would see in the whole picture:
positions counted from the top of the picture, and keys and values of all rows.

Shape letters: B batch (null class, class), C channels, H W pixels of the own rows, N own tiles, A all tiles, D width,
K the pair (key, value).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from polyrhythm_agent.family_api import (
    EMBED,
    HEAD,
    ActivationExchange,
    BlockObserver,
    ClassLabels,
    Denoiser,
    ExchangedLayer,
    Geometry,
    GuidedRun,
    ImageSpec,
    InvalidArgumentError,
    LayerGroup,
    LayerId,
    LayerKind,
    ModelFacts,
    ModelFolder,
    ModelFolderError,
    ModelMemory,
    ModelSampling,
    OperatorAttention,
    RowRange,
    Sampler,
    batch_of,
    check_image,
    install_operators,
    scheduler_config,
    state_dtype_of,
)

TILE = 8
"""Pixels on a side of one token. One row of tiles is one row unit: what the planner deals out."""
CHANNELS = 3
SIDE_PX = 128
ATTENTION = LayerId("attention")
"""The one block, by the name of the module that is called in it; the same on every device."""


class MosaicTransformer(nn.Module):
    """The network: one attention layer. A real family takes its modules from diffusers and leaves them as they are."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.classes = classes
        self.embed = nn.Conv2d(CHANNELS, width, kernel_size=TILE, stride=TILE)
        self.row_and_column = nn.Linear(2, width)
        self.class_embedding = nn.Embedding(classes + 1, width)  # the last one is the null class
        self.time = nn.Linear(1, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention = OperatorAttention()
        self.head = nn.Linear(width, CHANNELS * TILE * TILE)


class MosaicDenoiser:
    """The model as ``Denoiser``: everything that does not belong to one picture."""

    sample_prompt = "0"
    parts = ()
    """Nothing is loaded later than the rest: there is neither a text encoder nor an autoencoder."""

    def __init__(
        self, *, network: MosaicTransformer, labels: ClassLabels, sampling: ModelSampling, facts: ModelFacts
    ) -> None:
        self._network = network
        self._labels = labels
        self._sampling = sampling
        self.facts = facts

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the forward; keys and values travel in it."""
        return self._network.embed.weight.dtype

    @property
    def state_dtype(self) -> torch.dtype:
        """Of x and x0, whatever the forward computes in."""
        return state_dtype_of(self.compute_dtype)

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture. This model denoises pixels, so a latent is the picture itself."""
        attention = ExchangedLayer(
            kind=LayerKind.TOKENS,
            shrink=TILE,
            columns=image.width_px // TILE,
            features=self._network.width,
            batch=batch_of(image),
        )
        return Geometry(
            row_count=image.height_px // TILE,
            latent_rows_per_unit=TILE,
            latent_channels=CHANNELS,
            latent_height=image.height_px,
            latent_width=image.width_px,
            batch=batch_of(image),
            layers={ATTENTION: attention},
        )

    def count_tokens(self, text: str, field: str = "prompt") -> int:
        """Asked before a request is queued: the place to refuse a text, by the field that it stands in."""
        if field == "prompt":
            self._labels.number(text)
            return 1
        if text.strip():
            raise InvalidArgumentError.of(field, "this model takes none; leave it empty")
        return 0

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Asked before a request is queued, too: whether the schedule has so many steps."""
        self._sampling.check_steps(sampler, steps)

    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """What the prompt becomes; it travels to the other agents by name."""
        check_image(image, self.facts)
        label_B = [self._labels.count, self._labels.number(image.prompt)][-batch_of(image) :]
        return {"label_B": torch.tensor(label_B, device=self._network.embed.weight.device)}

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Tensors like those of ``encode``, to receive them into."""
        return {"label_B": torch.empty(batch_of(image), dtype=torch.int64, device=self._network.embed.weight.device)}

    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> MosaicRun:
        """Prepares one picture."""
        geometry = self.geometry(image)
        return MosaicRun(
            network=self._network,
            label_B=condition["label_B"],
            image=image,
            geometry=geometry,
            sampling=self._sampling.start(image.sampler, image.steps, geometry.latent_rows_per_unit),
            device=self._network.embed.weight.device,
            compute_dtype=self.compute_dtype,
        )

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """``(3, height, width)`` uint8 on the CPU."""
        return ((latent_BCHW[0].float() * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu()


class MosaicRun(GuidedRun):
    """One picture as ``DenoiserRun``: noise, sampler and guidance are inherited."""

    def __init__(self, *, network: MosaicTransformer, label_B: Tensor, **picture: Any) -> None:
        super().__init__(**picture)
        self._network = network
        self._label_B = label_B

    @torch.inference_mode()
    def predict(
        self,
        x_BCHW: Tensor,
        step: int,
        rows: RowRange,
        exchange: ActivationExchange,
        observer: BlockObserver,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The guided prediction for some rows of the picture."""
        del x0_BCHW  # for models that look across the rim of a patch
        observer.begin_block(EMBED)
        tokens_BND = self._embed(x_BCHW, step, rows)
        observer.end_block(EMBED)
        observer.begin_block(ATTENTION)
        tokens_BND = tokens_BND + self._attend(tokens_BND, exchange)
        observer.end_block(ATTENTION)
        observer.begin_block(HEAD)
        tiles_BCHW = F.pixel_shuffle(
            self._network.head(tokens_BND).transpose(1, 2).unflatten(2, (rows.count, -1)), upscale_factor=TILE
        )
        prediction_BCHW = self._guide(tiles_BCHW)
        observer.end_block(HEAD)
        return prediction_BCHW

    def _embed(self, x_BCHW: Tensor, step: int, rows: RowRange) -> Tensor:
        network, dtype = self._network, self._network.embed.weight.dtype
        own_BCHW = x_BCHW.to(dtype).expand(self.geometry.batch, -1, -1, -1)
        tokens_BND = network.embed(own_BCHW).flatten(2).transpose(1, 2)
        # Counted from the top of the picture, not of the patch.
        place = {"dtype": dtype, "device": x_BCHW.device}
        row = torch.arange(rows.begin, rows.end, **place) / self.geometry.row_count
        column = torch.arange(self.geometry.latent_width // TILE, **place) / (self.geometry.latent_width // TILE)
        position_N2 = torch.cartesian_prod(row, column)
        told_BD = network.class_embedding(self._label_B) + network.time(self._timestep(step)[:, None].to(dtype) / 1000)
        return tokens_BND + network.row_and_column(position_N2) + told_BD[:, None]

    def _attend(self, tokens_BND: Tensor, exchange: ActivationExchange) -> Tensor:
        network = self._network
        own_KBND = torch.stack((network.key(tokens_BND), network.value(tokens_BND)))
        # The one place where other agents come in: own rows are handed over, those of all rows come back.
        key_BAD, value_BAD = exchange.gather(ATTENTION, own_KBND)
        # With a dimension for heads, even if there is one: without, scores of all pairs of tokens are held at once.
        query_B1ND, key_B1AD, value_B1AD = (
            features.unsqueeze(1) for features in (network.query(tokens_BND), key_BAD, value_BAD)
        )
        return network.attention(query_B1ND, key_B1AD, value_B1AD).squeeze(1)


def load_mosaic(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> Denoiser:
    """The entry point: reads a folder whose index names a ``MosaicPipeline``.

    Raises:
        ModelFolderError: a part is missing or does not fit; the worker reports it and ends.
    """
    sampling = ModelSampling(scheduler_config(folder))
    config = folder.config_of("denoiser", "config.json")
    folder.require_safetensors("denoiser")
    network = MosaicTransformer(width=config["width"], classes=config["classes"])
    weights = folder.path / "denoiser" / "model.safetensors"
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelFolderError(f"model: {weights} cannot be loaded: {error}") from error
    network = network.to(device, dtype).eval()
    install_operators(network, folder.operators)
    return MosaicDenoiser(
        network=network,
        labels=ClassLabels.read(folder.index.get("id2label"), network.classes),
        sampling=sampling,
        facts=_facts(model, network, sampling, folder.fingerprint()),
    )


def _facts(model: str, network: MosaicTransformer, sampling: ModelSampling, fingerprint: str) -> ModelFacts:
    """All that the coordinator ever knows of the model: it checks requests and plans with these."""
    itemsize = network.embed.weight.dtype.itemsize
    weights_bytes = sum(weight.nbytes for weight in network.parameters())
    return ModelFacts(
        name=model,
        family="mosaic",
        fingerprint=fingerprint,
        dtype=str(network.embed.weight.dtype).removeprefix("torch."),
        samplers=sampling.samplers,
        default_width_px=SIDE_PX,
        default_height_px=SIDE_PX,
        default_steps=20,
        default_guidance=3.0,
        pixel_multiple=TILE,
        row_unit_px=TILE,
        pixels_max=16 * SIDE_PX**2,
        token_limit=1,
        exchanged=(LayerGroup(kind=LayerKind.TOKENS, layers=1, cell_px=TILE, cell_bytes=2 * network.width * itemsize),),
        token_px=TILE,
        latent_bytes_per_token=CHANNELS * TILE**2 * torch.float32.itemsize,
        weights_bytes=weights_bytes,
        memory=_memory(network, weights_bytes),
    )


def _memory(network: MosaicTransformer, weights_bytes: int) -> ModelMemory:
    """What a forward holds at its widest place, so that the planner gives no device more rows than fit on it."""
    itemsize, pixels = network.embed.weight.dtype.itemsize, CHANNELS * TILE**2
    in_attention = 7 * network.width  # tokens, keys and values, these stacked, query, result
    in_head = network.width + 2 * pixels  # tokens, tiles, and these as an image
    return ModelMemory(
        denoiser_bytes=weights_bytes,
        text_encoder_bytes=0,
        autoencoder_bytes=0,
        condition_bytes=torch.int64.itemsize,
        own_token_bytes=max(in_attention, in_head) * itemsize,
        image_token_bytes=2 * network.width * itemsize,  # keys and values of the whole picture
        decode_pixel_bytes=3 * CHANNELS * torch.float32.itemsize,
    )
