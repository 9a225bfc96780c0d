"""Measures t(rows) = fixed + per_row * rows of this device, for the picture size at hand.

Forwards run exactly as in a job (sampler update and emulated speed included), but other agents' rows come from memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from statistics import fmean, median

import numpy as np
import torch
from torch import Tensor

from polyrhythm.facts import ModelPart
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageSpec, Quality, Sampler
from polyrhythm.messages import MeasureProfile
from polyrhythm.profile import PeakMemory, Profile, Workload
from polyrhythm.rows import RowRange
from polyrhythm_agent.device_memory import is_out_of_memory
from polyrhythm_agent.errors import OutOfMemoryError
from polyrhythm_agent.exchange.shapes import message_shape
from polyrhythm_agent.measuring_stop import MeasuringStop, StoppableSeam
from polyrhythm_agent.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports import ActivationExchange, Denoiser, DenoiserRun, Geometry, LayerSeam, Part
from polyrhythm_agent.profiling_parts import (
    PartUse,
    make_room_for_forward,
    measure_decoding,
    measure_encoding,
    peak_bytes,
    zero_condition,
)
from polyrhythm_agent.profiling_rounds import TimedForward, jitter_of, time_forwards

PROFILED_STEP = 1
OTHERS_STEP = 0
"""Other rows are a step behind, as in a displaced step."""

PROFILE_STEPS = 8
"""Length of the grid while profiling; the cost of a forward does not depend on it."""


class RememberedRows:
    """Stands in for the exchange: other rows' activations are there already, at the cost of assembling them.

    Args:
        rows: own ones.
        geometry: of the picture.
        exchanges: called at every exchange.
    """

    def __init__(self, *, rows: RowRange, geometry: Geometry, exchanges: Callable[[], None] = lambda: None) -> None:
        self._exchanges = exchanges
        self._geometry = geometry
        self._others = tuple(
            other
            for other in (RowRange(begin=0, end=rows.begin), RowRange(begin=rows.end, end=geometry.row_count))
            if other.count
        )
        self._rows = rows

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """The own rows between zeros."""
        parts = [own_KBND]
        for part in self._parts(layer, own_KBND):
            parts.insert(0 if part.rows.end == self._rows.begin else len(parts), part.tensor)
        return torch.cat(parts, dim=2) if len(parts) > 1 else own_KBND

    def halo(self, layer: int, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Rims of zeros."""
        found = {part.rows.end == self._rows.begin: part for part in self._parts(layer, own_BCHW)}
        return found.get(True), found.get(False)

    def collect(self, layer: int, own_MBG: Tensor) -> tuple[Part, ...]:
        """Moments of rows that are all alike."""
        return (*self._parts(layer, own_MBG), Part(rows=self._rows, step=OTHERS_STEP, tensor=own_MBG))

    def _parts(self, layer: int, own: Tensor) -> tuple[Part, ...]:
        self._exchanges()
        spec = self._geometry.layers[layer]
        found: list[Part] = []
        for rows in self._others:
            shape = message_shape(self._geometry, spec, rows, self._rows)
            if shape is not None:
                found.append(Part(rows=rows, step=OTHERS_STEP, tensor=own.new_zeros(shape)))
        return tuple(found)


def profile_image(workload: Workload, denoiser: Denoiser) -> ImageSpec:
    """A picture of the workload's size; batch 2 means guidance."""
    return ImageSpec(
        model=workload.model,
        prompt=denoiser.sample_prompt,
        width_px=workload.width_px,
        height_px=workload.height_px,
        steps=PROFILE_STEPS,
        seed=0,
        guidance=4.0 if workload.batch == 2 else 1.0,
        sampler=Sampler(denoiser.facts.samplers[0]),
        quality=Quality.EXACT,
    )


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
    seam: LayerSeam,
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
    seam = StoppableSeam(seam, stop)
    image = profile_image(workload, denoiser)
    if command.together:
        condition, encoding = zero_condition(image, denoiser), PartUse(output=None)
    else:
        condition, encoding = measure_encoding(image, denoiser, seam, parts)
    make_room_for_forward(image, denoiser, batch=workload.batch, parts=parts)
    run = denoiser.start(image, condition)
    x_BCHW = run.initial_noise()
    counts = row_counts(run.geometry.row_count, whole=not command.together)
    steps = [_PatchStep(run, rows, seam, around_exchange) for rows in counts]
    forward_peaks: list[tuple[int, int | None]] = []
    timings = time_forwards(
        steps,
        seconds=command.seconds,
        to_the_end=command.together,
        first_s=lambda step: _first_s(step, x_BCHW.device, forward_peaks),
    )
    if not timings:
        raise OutOfMemoryError(f"no forward of {image.width_px}x{image.height_px} pixels fits")
    fixed_s, per_row_s = fit_line([(timing.row_units, median(timing.seconds)) for timing in timings])
    if command.together:
        decoding = PartUse(output=None)
    else:
        stop.check()
        decoding = measure_decoding(x_BCHW, image, denoiser, seam, parts, seconds=command.seconds)
    used = () if command.together else ((ModelPart.TEXT_ENCODER, encoding), (ModelPart.AUTOENCODER, decoding))
    return Profile(
        agent=agent,
        workload=workload,
        fixed_s=fixed_s,
        per_row_s=per_row_s,
        encode_s=encoding.seconds,
        decode_s=decoding.seconds,
        samples=sum(len(timing.seconds) for timing in timings),
        memory=_peak_memory(forward_peaks, decoding.peak_bytes or 0, encoding.peak_bytes or 0),
        no_room=tuple(part for part, use in used if use.output is None),
        offloaded=denoiser.facts.offloaded,
        loading_s=max(encoding.loading_s, decoding.loading_s),
        # The host knows when a device was given its layers, not when it computed them.
        jitter=0.0 if x_BCHW.is_cuda else fmean(jitter_of(step.gaps_s[1:]) for step in steps[-len(timings) :]),
        measured_rows=max(timing.row_units for timing in timings),
    )


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


class _PatchStep:
    """One step of a patch of some rows, as a job runs it but for the other agents.

    Attributes:
        rows: of the patch.
        gaps_s: of each forward, the seconds between its exchanges.
    """

    def __init__(
        self,
        run: DenoiserRun,
        rows: int,
        seam: LayerSeam,
        around_exchange: Callable[[ActivationExchange], ActivationExchange],
    ) -> None:
        geometry = run.geometry
        self.rows = RowRange(begin=0, end=rows)
        self.gaps_s: list[list[float]] = []
        self._marks_s: list[float] = []
        self._run = run
        self._seam = seam
        self._x_BCHW = run.initial_noise()[:, :, geometry.latent_slice(self.rows)]
        self._exchange = around_exchange(RememberedRows(rows=self.rows, geometry=geometry, exchanges=self._mark))

    @property
    def row_units(self) -> int:
        """How many rows."""
        return self.rows.count

    def _mark(self) -> None:
        self._marks_s.append(time.perf_counter())

    def time_s(self) -> float:
        """Wall seconds of prediction and sampler update."""
        self._marks_s = [time.perf_counter()]
        prediction_BCHW = self._run.predict(
            self._x_BCHW, PROFILED_STEP, self.rows, self._exchange, self._seam, x0_BCHW=self._x_BCHW
        )
        self._seam.begin_layer("sampler")
        history = (-1,) * self.rows.count
        next_x_BCHW, _ = self._run.advance(
            self._x_BCHW, prediction_BCHW, PROFILED_STEP, PROFILED_STEP + 1, self._x_BCHW, history, rows=self.rows
        )
        self._seam.end_layer("sampler", next_x_BCHW)
        if next_x_BCHW.is_cuda:
            torch.cuda.synchronize(next_x_BCHW.device)
        self._mark()
        self.gaps_s.append([after_s - before_s for before_s, after_s in pairwise(self._marks_s)])
        return self._marks_s[-1] - self._marks_s[0]
