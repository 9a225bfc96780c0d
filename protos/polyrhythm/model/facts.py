"""What agents report about themselves: devices and models. Facts only; nothing here is estimated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from polyrhythm.model.calibration import CalibratedGrid, Calibration
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.request_choices import LongPrompt, Sampler

THREADS_SOFTWARE = "threads"
"""Name of the ``SoftwareVersion`` in which an agent on a CPU says how many threads compute, which decide the order of
its sums."""
EMULATED_SPEED_MIN = 0.01
"""Of the true speed: a hundred times slower is as slow as anybody can want to wait for."""


class DeviceKind(StrEnum):
    """What an agent computes on."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device.

    Attributes:
        uuid: stable unique name, as NVML reports it; for a CPU made from the host and the agent's name.
        name: what a person calls it.
        kind: CPU or CUDA.
        memory_total_bytes: of the device, or of the host for a CPU.
        memory_free_bytes: at registration.
        driver: version of the driver; empty for a CPU.
        emulated_speed: share of its true speed at which the device runs on purpose; None when it runs freely.
            Every figure of an agent with a value here is called emulated.
        memory_limit_bytes: what the agent uses at most on purpose; None where it may use all that is free.
        host: name of the machine that it is in; empty where nobody says.
        kernel: which running kernel it computes under, the same in all containers of a machine; empty where it is not
            known.
    """

    uuid: str
    name: str
    kind: DeviceKind
    memory_total_bytes: int
    memory_free_bytes: int
    driver: str = ""
    emulated_speed: float | None = None
    memory_limit_bytes: int | None = None
    host: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareVersion:
    """One piece of software, or a setting, on which the bytes of a picture depend."""

    name: str
    version: str


class ModelPart(StrEnum):
    """What of a model is loaded only where and while a plan needs it; the denoiser is there all the time."""

    TEXT_ENCODER = "text_encoder"
    """All text encoders together."""
    AUTOENCODER = "autoencoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMemory:
    """What a model's parts take on a device. Weights are counted; the rest follows from the widths of its layers.

    Working memory is what a forward or a decoding allocates and frees again, at its peak. A device that can tell
    measures it for each size (``polyrhythm.plan.profile.PeakMemory``), and then the formulas here are not used.

    Attributes:
        denoiser_bytes: weights and buffers of the denoiser, and of whatever else is held all the time.
        text_encoder_bytes: of all text encoders, where they are loaded for encoding only; else 0.
        autoencoder_bytes: of the autoencoder, where it is loaded for decoding only; else 0.
        condition_bytes: embeddings of a prompt and what every layer keeps of them for a picture, one batch element.
        own_token_bytes: working memory of a forward, a token of the agent's own rows and a batch element: computed.
        image_token_bytes: the same, a token of the whole picture: keys and values of one layer, put together. Computed.
        decode_pixel_bytes: working memory of decoding, a pixel that is decoded at one time: computed.
        tiled_above_pixels: larger pictures are decoded tile by tile; 0 where none are.
        tile_pixels: of one tile.
        tiled_pixel_bytes: what a picture that is decoded in tiles takes beside them, a pixel: computed.
        encode_bytes: working memory of encoding one text: computed.
        offloaded_bytes: of the denoiser, at most, where its blocks' weights are outside of the device's memory and are
            brought in one by one; 0 where the family cannot do that.
    """

    denoiser_bytes: int
    text_encoder_bytes: int
    autoencoder_bytes: int
    condition_bytes: int
    own_token_bytes: int
    image_token_bytes: int
    decode_pixel_bytes: int
    tiled_above_pixels: int = 0
    tile_pixels: int = 0
    tiled_pixel_bytes: int = 0
    encode_bytes: int = 0
    offloaded_bytes: int = 0

    def resident_bytes(self, *, offloaded: bool) -> int:
        """Weights of the denoiser that are held all the time."""
        return self.offloaded_bytes if offloaded else self.denoiser_bytes

    def part_bytes(self, part: ModelPart) -> int:
        """Of a part that is loaded on demand."""
        match part:
            case ModelPart.TEXT_ENCODER:
                return self.text_encoder_bytes
            case ModelPart.AUTOENCODER:
                return self.autoencoder_bytes
            case _:
                assert_never(part)

    def decode_bytes(self, pixels: int) -> int:
        """Working memory of decoding a picture of so many pixels."""
        if self.tiled_above_pixels and pixels > self.tiled_above_pixels:
            return self.decode_pixel_bytes * min(pixels, self.tile_pixels) + self.tiled_pixel_bytes * pixels
        return self.decode_pixel_bytes * pixels

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the coordinator needs to know of a model that an agent holds.

    Attributes:
        name: in requests.
        family: adapter that runs it, such as ``pixart``.
        fingerprint: hash of weights and configs, whatever the dtype; agents of one gang must agree.
        dtype: arithmetic of the denoiser, such as ``float32``; agents of one gang may differ, but for ``float64``.
        samplers: that may be asked for, the default first.
        default_width_px: width when the user names none.
        default_height_px: height when the user names none.
        default_steps: steps when the user names none.
        default_guidance: guidance when the user names none.
        pixel_multiple: width and height must be multiples of this.
        row_unit_px: pixels of one row unit.
        pixels_max: largest picture.
        token_limit: longest prompt in tokens, end mark included.
        exchanged: what the layers of the denoiser send, in groups of like ones.
        token_px: pixels on a side of one token of the whole picture's latent.
        latent_bytes_per_token: bytes of the fp32 latent of one token.
        weights_bytes: of all parts, whether they are loaded now or not.
        square_only: whether width and height must be the same.
        full_rate_samplers: those of the samplers that take stride 1 only, such as ones that draw noise at every step.
        long_prompts: what may become of a prompt beyond the limit, beside a refusal.
        notices: what a user should know of how the model is run, such as a scheduler that another one stands in for.
        memory: what its parts take; None where the family cannot say, so that nothing but weights, exchanged
            activations and latents is counted.
        offloaded: whether this agent keeps the weights of the denoiser's blocks outside of its device's memory.
        guidance_embedded: whether the denoiser is told the guidance, and runs once a step instead of with and without
            the text.
        calibrations: what stale activations and merged steps cost on it, by sampler and length of grid; empty where
            nobody has measured, and in what users are told.
        calibrated: what users are told of these.
    """

    name: str
    family: str
    fingerprint: str
    dtype: str
    samplers: tuple[Sampler, ...]
    default_width_px: int
    default_height_px: int
    default_steps: int
    default_guidance: float
    pixel_multiple: int
    row_unit_px: int
    pixels_max: int
    token_limit: int
    exchanged: tuple[LayerGroup, ...]
    token_px: int
    latent_bytes_per_token: int
    weights_bytes: int
    square_only: bool = False
    full_rate_samplers: tuple[Sampler, ...] = ()
    long_prompts: tuple[LongPrompt, ...] = ()
    notices: tuple[str, ...] = ()
    memory: ModelMemory | None = None
    calibrations: tuple[Calibration, ...] = ()
    calibrated: tuple[CalibratedGrid, ...] = ()
    offloaded: bool = False
    guidance_embedded: bool = False

    def batch(self, guidance: float) -> int:
        """Batch elements of one forward: both halves of the guidance, or one."""
        return 2 if guidance > 1.0 and not self.guidance_embedded else 1

    def as_told(self) -> ModelFacts:
        """For users: calibrations are as large as all the rest of a fleet together, and only the planner reads them."""
        told = tuple(CalibratedGrid(sampler=c.sampler, steps=c.steps, pictures=c.pictures) for c in self.calibrations)
        return replace(self, calibrations=(), calibrated=told)

    @property
    def resident_bytes(self) -> int:
        """Weights that a worker holds all the time; without ``memory`` all of them count."""
        return self.weights_bytes if self.memory is None else self.memory.resident_bytes(offloaded=self.offloaded)

    def row_count(self, height_px: int) -> int:
        """Row units of an image of this height; the last one may be short."""
        return -(-height_px // self.row_unit_px)

    @property
    def layers(self) -> int:
        """Exchanging layers of the denoiser: messages of one version to a neighbour."""
        return sum(group.layers for group in self.exchanged)

    @property
    def resync_after_move(self) -> bool:
        """Whether the first step after rows have moved must be synchronous.

        Only keys and values are sent of all rows; a halo or moments of the old rows say nothing of the new ones.
        """
        return any(group.kind is not LayerKind.TOKENS for group in self.exchanged)

    def tokens_per_row(self, width_px: int) -> int:
        """Tokens of one row unit of an image of this width."""
        return (width_px // self.token_px) * (self.row_unit_px // self.token_px)
