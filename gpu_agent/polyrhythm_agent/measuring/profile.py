"""Measures t(rows) = fixed + per_row * rows of this device, for the picture size at hand.

What one forward is, is in ``profiled_step``; how many there are, in ``rounds``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

import numpy as np
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelPart
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import PeakMemory, Profile, Workload
from polyrhythm.session.commands import MeasureProfile
from polyrhythm_agent.errors import OutOfMemoryError
from polyrhythm_agent.measuring.encode_decode import (
    PartUse,
    make_room_for_forward,
    measure_decoding,
    measure_encoding,
    peak_bytes,
    zero_condition,
)
from polyrhythm_agent.measuring.profiled_step import PROFILED_STEP, ProfiledStep
from polyrhythm_agent.measuring.rounds import TimedForward, Timing, mean_jitter, time_forwards
from polyrhythm_agent.measuring.stop import MeasuringStop, StoppableObserver
from polyrhythm_agent.memory.device_memory import is_out_of_memory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser, DenoiserRun
from polyrhythm_agent.ports.exchange import ActivationExchange

PROFILE_STEPS = (8, 2, 1)
"""Lengths of the grid while profiling, the first that the model's schedule has: some were distilled at few points. The
cost of a forward does not depend on it."""


def profile_image(workload: Workload, denoiser: Denoiser) -> ImageSpec:
    """A picture of the workload's size; batch 2 means guidance."""
    sampler = denoiser.facts.samplers[0]
    return ImageSpec(
        model=workload.model,
        prompt=denoiser.sample_prompt,
        width_px=workload.width_px,
        height_px=workload.height_px,
        steps=_steps(denoiser, sampler),
        seed=0,
        guidance=4.0 if workload.batch == 2 else 1.0,
        sampler=sampler,
        quality=Quality.EXACT,
    )


def _steps(denoiser: Denoiser, sampler: Sampler) -> int:
    for steps in PROFILE_STEPS:
        try:
            denoiser.check_steps(sampler, steps)
        except InvalidArgumentError:
            continue
        return steps
    raise InvalidArgumentError.of("steps", f"the schedule of {denoiser.facts.name} has none of {PROFILE_STEPS}")


def row_counts(row_count: int, *, whole: bool) -> tuple[int, ...]:
    """Row counts to measure: an eighth, a quarter, half, three quarters of the picture, ascending.

    Args:
        row_count: of the picture.
        whole: whether one device makes all of it at times.
    """
    eighths = (1, 2, 4, 6, 8) if whole or row_count == 1 else (1, 2, 4, 6)
    return tuple(sorted({max(1, row_count * eighth // 8) for eighth in eighths}))


@torch.inference_mode()
def measure_profile(
    agent: AgentId,
    command: MeasureProfile,
    denoiser: Denoiser,
    observer: BlockObserver,
    around_exchange: Callable[[ActivationExchange], ActivationExchange],
    parts: PartsInMemory,
    stop: MeasuringStop | None = None,
) -> Profile:
    """Measures one workload on this device: forwards, and unless all of the host measure, encoding and decoding.

    Returns:
        Least-squares line through the medians of the row counts; a negative intercept becomes zero. On CUDA also the
        peak of memory. Encoding and decoding take nothing where they are not measured.

    Raises:
        OutOfMemoryError: not even an eighth of the picture fits.
        MeasuringStoppedError: nobody waits for it any more.
    """
    workload, stop = command.workload, stop or MeasuringStop()
    observer = StoppableObserver(observer, stop)
    image = profile_image(workload, denoiser)
    condition, encoding, decoding = zero_condition(image, denoiser), PartUse(output=None), PartUse(output=None)
    if not command.together:
        condition, encoding = measure_encoding(image, denoiser, observer, parts, seconds=command.seconds)
    make_room_for_forward(image, denoiser, batch=workload.batch, parts=parts)
    run = denoiser.start(image, condition)
    forwards = _measure_forwards(run, image, command, observer, around_exchange)
    if not command.together:
        stop.check()
        decoding = measure_decoding(run.initial_noise(), image, denoiser, observer, parts, seconds=command.seconds)
    fixed_s, per_row_s = fit_line([(timing.row_units, median(timing.seconds)) for timing in forwards.timings])
    used = () if command.together else ((ModelPart.TEXT_ENCODER, encoding), (ModelPart.AUTOENCODER, decoding))
    return Profile(
        agent=agent,
        workload=workload,
        fixed_s=fixed_s,
        per_row_s=per_row_s,
        encode_s=encoding.seconds,
        decode_s=decoding.seconds,
        samples=sum(len(timing.seconds) for timing in forwards.timings),
        memory=_peak_memory(forwards.peaks, decoding.peak_bytes or 0, encoding.peak_bytes or 0),
        no_room=tuple(part for part, use in used if use.output is None),
        offloaded=denoiser.facts.offloaded,
        loading_s=max(encoding.loading_s, decoding.loading_s),
        jitter=forwards.jitter,
        measured_rows=max(timing.row_units for timing in forwards.timings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forwards:
    """What forwards over growing numbers of rows took.

    Attributes:
        timings: by row count; at least one.
        peaks: most bytes of memory by row count; None where the device cannot tell.
        jitter: as in ``Profile``; 0 where nothing can be said.
    """

    timings: tuple[Timing, ...]
    peaks: Sequence[tuple[int, int | None]]
    jitter: float


def _measure_forwards(
    run: DenoiserRun,
    image: ImageSpec,
    command: MeasureProfile,
    observer: BlockObserver,
    around_exchange: Callable[[ActivationExchange], ActivationExchange],
) -> _Forwards:
    """Times forwards.

    Raises:
        OutOfMemoryError: none fits.
    """
    step, device = min(PROFILED_STEP, image.steps - 1), run.initial_noise().device
    counts = row_counts(run.geometry.row_count, whole=not command.together)
    forwards = [ProfiledStep(run, step, rows, observer, around_exchange) for rows in counts]
    peaks: list[tuple[int, int | None]] = []
    timings = time_forwards(
        forwards,
        seconds=command.seconds,
        to_the_end=command.together,
        first_s=lambda forward: _first_s(forward, device, peaks),
    )
    if not timings:
        raise OutOfMemoryError(f"no forward of {image.width_px}x{image.height_px} pixels fits")
    # The host knows when a CUDA device was given its layers, not when it computed them.
    jitter = 0.0 if device.type == "cuda" else mean_jitter(timings, {each.row_units: each.gaps_s for each in forwards})
    return _Forwards(timings=timings, peaks=peaks, jitter=jitter)


def _first_s(step: TimedForward, device: torch.device, peaks: list[tuple[int, int | None]]) -> float | None:
    """The first forward of a size, with the memory that it takes; None where it does not fit."""
    times_s: list[float] = []
    try:
        peak = peak_bytes(lambda: times_s.append(step.time_s()), device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    peaks.append((step.row_units, peak))
    return times_s[0]


def _peak_memory(
    forward_peaks: Sequence[tuple[int, int | None]], decode_bytes: int, encode_bytes: int
) -> PeakMemory | None:
    """A line above all measured peaks: the slope of the least squares, moved up."""
    told = [(rows, peak) for rows, peak in forward_peaks if peak is not None]
    if not told:
        return None
    _, row_bytes = fit_line([(rows, float(max(1, peak))) for rows, peak in told])
    slope_bytes = ceil(row_bytes)
    fixed_bytes = max(0, *(peak - slope_bytes * rows for rows, peak in told))
    return PeakMemory(
        forward_fixed_bytes=fixed_bytes,
        forward_row_bytes=slope_bytes,
        decode_bytes=decode_bytes,
        encode_bytes=encode_bytes,
    )


def fit_line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Least squares of seconds over rows, weighted by 1 / seconds so that errors count relatively.

    Returns:
        ``(fixed_s, per_row_s)``; through the origin where there is one point or the intercept would be negative.
    """
    rows_P = np.array([rows for rows, _ in points], dtype=np.float64)
    seconds_P = np.array([seconds for _, seconds in points], dtype=np.float64)
    if len(points) > 1:
        per_row_s, fixed_s = np.polyfit(rows_P, seconds_P, 1, w=1.0 / seconds_P)
        if fixed_s >= 0 and per_row_s > 0:
            return float(fixed_s), float(per_row_s)
    return 0.0, float(np.sum(rows_P / seconds_P) / np.sum((rows_P / seconds_P) ** 2))
