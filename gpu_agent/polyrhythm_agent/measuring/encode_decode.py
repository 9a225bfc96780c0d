"""Measures encoding and decoding apart from the denoiser, and says where a part of the model finds no room."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

import structlog
import torch
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelFacts, ModelPart
from polyrhythm_agent.errors import OutOfMemoryError
from polyrhythm_agent.memory.device_memory import is_out_of_memory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports.blocks import DECODE, ENCODE, BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser

log = structlog.get_logger()

NEVER_S = -1.0
"""A first use takes longer: there is no second one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUse:
    """One use of a part.

    Attributes:
        output: what it made; None where there was no room for the part, and then all numbers are 0.
        seconds: of computing, once what only the first use pays for is paid where there was time for a second one.
        peak_bytes: most that it held beyond what was held before; None where the device cannot tell.
        loading_s: seconds of loading, if it had to be loaded.
    """

    output: Tensor | None
    seconds: float = 0.0
    peak_bytes: int | None = None
    loading_s: float = 0.0


def zero_condition(image: ImageSpec, denoiser: Denoiser) -> dict[str, Tensor]:
    """A condition of zeros: a forward costs the same with it."""
    return {name: torch.zeros_like(tensor) for name, tensor in denoiser.empty_condition(image).items()}


def measure_encoding(
    image: ImageSpec,
    denoiser: Denoiser,
    observer: BlockObserver,
    parts: PartsInMemory,
    *,
    seconds: float,
    clock_s: Callable[[], float] = time.perf_counter,
) -> tuple[Mapping[str, Tensor], PartUse]:
    """Encodes the picture's prompt.

    Args:
        image: with the prompt.
        denoiser: whose text encoders.
        observer: of the encoding.
        parts: where they are held.
        seconds: that a first encoding may take for a second one to be made.
        clock_s: the clock.

    Returns:
        The condition, of zeros where there is no room for the text encoder: a forward costs the same with it.
    """
    memory = denoiser.facts.memory
    condition = zero_condition(image, denoiser)

    def encode() -> Tensor:
        condition.update(denoiser.encode(image))
        observer.end_block(ENCODE)
        return next(iter(condition.values()))

    use = _measure(
        ModelPart.TEXT_ENCODER,
        encode,
        device=next(iter(condition.values())).device,
        need_bytes=_need_bytes(denoiser.facts, ModelPart.TEXT_ENCODER, memory.encode_bytes if memory else 0),
        begin=lambda: observer.begin_block(ENCODE),
        parts=parts,
        again_s=seconds,
        clock_s=clock_s,
    )
    return condition, use


def measure_decoding(
    latent_BCHW: Tensor,
    image: ImageSpec,
    denoiser: Denoiser,
    observer: BlockObserver,
    parts: PartsInMemory,
    *,
    seconds: float = inf,
    clock_s: Callable[[], float] = time.perf_counter,
) -> PartUse:
    """Decodes a latent of the picture's size, or a quarter of it where all of it would take too long on a CPU.

    The quarter warms up for the whole; what is timed by itself is done twice, and the second time counts.

    Args:
        latent_BCHW: of the whole picture.
        image: of that size.
        denoiser: whose autoencoder.
        observer: of the decoding.
        parts: where the autoencoder is held.
        seconds: that decoding should take at most; beyond them the time of a quarter is scaled by the pixels.
        clock_s: the clock.
    """

    def decoded(latent_BCHW: Tensor, again_s: float) -> PartUse:
        return _decoded(latent_BCHW, image, denoiser, observer, parts, again_s=again_s, clock_s=clock_s)

    height = latent_BCHW.shape[2]
    quarter_BCHW = latent_BCHW[:, :, : height // 4]
    if latent_BCHW.is_cuda or not height // 4:
        return decoded(latent_BCHW, seconds)
    times = height / (height // 4)
    quarter = decoded(quarter_BCHW, NEVER_S)
    if quarter.output is not None and quarter.seconds * times > seconds >= quarter.seconds:
        quarter = replace(decoded(quarter_BCHW, NEVER_S), loading_s=quarter.loading_s)
    if quarter.output is None or quarter.seconds * times > seconds:
        return replace(quarter, seconds=quarter.seconds * times)
    return replace(decoded(latent_BCHW, NEVER_S), loading_s=quarter.loading_s)


def _decoded(
    latent_BCHW: Tensor,
    image: ImageSpec,
    denoiser: Denoiser,
    observer: BlockObserver,
    parts: PartsInMemory,
    *,
    again_s: float,
    clock_s: Callable[[], float],
) -> PartUse:
    memory = denoiser.facts.memory
    working_bytes = memory.decode_bytes(image.width_px * image.height_px) if memory else 0

    def decode() -> Tensor:
        pixels_CHW = denoiser.decode(latent_BCHW)
        observer.end_block(DECODE)
        return pixels_CHW

    return _measure(
        ModelPart.AUTOENCODER,
        decode,
        device=latent_BCHW.device,
        need_bytes=_need_bytes(denoiser.facts, ModelPart.AUTOENCODER, working_bytes),
        begin=lambda: observer.begin_block(DECODE),
        parts=parts,
        again_s=again_s,
        clock_s=clock_s,
    )


def make_room_for_forward(image: ImageSpec, denoiser: Denoiser, *, batch: int, parts: PartsInMemory) -> None:
    """Lets go what does not fit beside a forward over the whole picture, as far as the model can say."""
    facts = denoiser.facts
    memory = facts.memory
    if memory is None:
        return
    tokens = (image.width_px // facts.token_px) * (image.height_px // facts.token_px)
    token_bytes = memory.own_token_bytes + memory.image_token_bytes
    parts.make_room(facts.resident_bytes + batch * (memory.condition_bytes + tokens * token_bytes))


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Does some work; most bytes that it held beyond what was held before, None where the device cannot tell."""
    if device.type != "cuda":
        work()
        return None
    before_bytes = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before_bytes


def _need_bytes(facts: ModelFacts, part: ModelPart, working_bytes: int) -> int:
    return facts.resident_bytes + (facts.memory.part_bytes(part) if facts.memory else 0) + working_bytes


def _measure(
    part: ModelPart,
    work: Callable[[], Tensor],
    *,
    device: torch.device,
    need_bytes: int,
    begin: Callable[[], None],
    parts: PartsInMemory,
    again_s: float,
    clock_s: Callable[[], float],
) -> PartUse:
    """Loads a part and times its work; a second time, which counts, where the first took no longer than ``again_s``."""
    if not parts.has_room(need_bytes):
        log.warning("no room for a part of the model", part=str(part), needed_mib=round(need_bytes / 2**20, 1))
        return PartUse(output=None)
    parts.make_room(need_bytes, keep=(part,))

    def use_once(loading_s: float) -> PartUse:
        made: list[Tensor] = []
        begin_s = clock_s()
        begin()
        held_bytes = peak_bytes(lambda: made.append(work()), device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return PartUse(output=made[0], seconds=clock_s() - begin_s, peak_bytes=held_bytes, loading_s=loading_s)

    try:
        used = use_once(parts.fetch(part))
        return use_once(used.loading_s) if used.seconds <= again_s else used
    except (OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        log.warning("no room for a part of the model", part=str(part), reason=str(error))
        parts.release(part)
        return PartUse(output=None)
