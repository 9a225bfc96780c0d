"""Measures t(rows) = fixed + per_row * rows of this device, for the picture size at hand.

Forwards run exactly as in a job (sampler update and emulated speed included), but other agents' rows come from memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil
from statistics import median

import numpy as np
import torch
from torch import Tensor

from polyrhythm.facts import ModelPart
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageSpec, Quality, Sampler
from polyrhythm.profile import PeakMemory, Profile, Workload
from polyrhythm.rows import RowRange
from polyrhythm_agent.device_memory import is_out_of_memory
from polyrhythm_agent.errors import OutOfMemoryError
from polyrhythm_agent.exchange.shapes import message_shape
from polyrhythm_agent.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports import ActivationExchange, Denoiser, DenoiserRun, Geometry, LayerSeam, Part
from polyrhythm_agent.profiling_parts import (
    make_room_for_forward,
    measure_decoding,
    measure_encoding,
    peak_bytes,
)

MEASURE_S = 2.0
"""Rounds over all row counts are begun for so long; at least one is made. All agents of a fleet measure for the same
time, so each is measured while the others compute too, as in a job."""

PROFILED_STEP = 1
OTHERS_STEP = 0
"""Other rows are a step behind, as in a displaced step."""

PROFILE_STEPS = 8
"""Length of the grid while profiling; the cost of a forward does not depend on it."""


class RememberedRows:
    """Stands in for the exchange: other rows' activations are there already, at the cost of assembling them."""

    def __init__(self, *, rows: RowRange, geometry: Geometry) -> None:
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


def row_counts(row_count: int) -> tuple[int, ...]:
    """Row counts to measure: whole, three quarters, half, a quarter of the picture, the largest first."""
    return tuple(sorted({max(1, row_count * quarter // 4) for quarter in (1, 2, 3, 4)}, reverse=True))


@torch.inference_mode()
def measure_profile(
    agent: AgentId,
    workload: Workload,
    denoiser: Denoiser,
    seam: LayerSeam,
    around_exchange: Callable[[ActivationExchange], ActivationExchange],
    parts: PartsInMemory,
) -> Profile:
    """Measures one workload on this device: forwards, and encoding and decoding where there is room for them.

    Returns:
        Least-squares line through the medians of the row counts; a negative intercept becomes zero. On CUDA also the
        peak of memory.

    Raises:
        OutOfMemoryError: not even a quarter of the picture fits.

    Interleaving and the common measuring time are this project's own; the affine form is in ``polyrhythm.profile``.
    """
    image = profile_image(workload, denoiser)
    condition, encoding = measure_encoding(image, denoiser, seam, parts)
    make_room_for_forward(image, denoiser, batch=workload.batch, parts=parts)
    run = denoiser.start(image, condition)
    x_BCHW = run.initial_noise()
    steps = [_PatchStep(run, rows, seam, around_exchange) for rows in row_counts(run.geometry.row_count)]
    # The first forwards warm up caches and allocators; what does not fit cannot be planned either.
    steps = [step for step in steps if _fits(step)]
    if not steps:
        raise OutOfMemoryError(f"no forward of {image.width_px}x{image.height_px} pixels fits")
    forward_peaks = [(step.rows.count, peak_bytes(step.time_s, x_BCHW.device)) for step in steps]
    rounds: list[list[float]] = []
    begin_s = time.perf_counter()
    while not rounds or time.perf_counter() - begin_s < MEASURE_S:
        rounds.append([step.time_s() for step in steps])  # interleaved: a drift of the machine meets all row counts
    fixed_s, per_row_s = fit_line(
        [
            (step.rows.count, median(durations_s))
            for step, durations_s in zip(steps, zip(*rounds, strict=True), strict=True)
        ]
    )
    decoding = measure_decoding(x_BCHW, image, denoiser, seam, parts)
    used = ((ModelPart.TEXT_ENCODER, encoding), (ModelPart.AUTOENCODER, decoding))
    return Profile(
        agent=agent,
        workload=workload,
        fixed_s=fixed_s,
        per_row_s=per_row_s,
        encode_s=encoding.seconds,
        decode_s=decoding.seconds,
        samples=len(steps) * len(rounds),
        memory=_peak_memory(forward_peaks, decoding.peak_bytes or 0, encoding.peak_bytes or 0),
        no_room=tuple(part for part, use in used if use.output is None),
        offloaded=denoiser.facts.offloaded,
        loading_s=max(encoding.loading_s, decoding.loading_s),
    )


def _fits(step: _PatchStep) -> bool:
    try:
        step.time_s()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


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
    """One step of a patch of some rows, as a job runs it but for the other agents."""

    def __init__(
        self,
        run: DenoiserRun,
        rows: int,
        seam: LayerSeam,
        around_exchange: Callable[[ActivationExchange], ActivationExchange],
    ) -> None:
        geometry = run.geometry
        self.rows = RowRange(begin=0, end=rows)
        self._run = run
        self._seam = seam
        self._x_BCHW = run.initial_noise()[:, :, geometry.latent_slice(self.rows)]
        self._exchange = around_exchange(RememberedRows(rows=self.rows, geometry=geometry))

    def time_s(self) -> float:
        """Wall seconds of prediction and sampler update."""
        begin_s = time.perf_counter()
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
        return time.perf_counter() - begin_s
