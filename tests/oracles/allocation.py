"""What PyTorch's allocator hands out while some work is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.profile import Workload
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.measuring.emulated_speed import EmulatedSpeed
from polyrhythm_agent.measuring.profile import profile_image
from polyrhythm_agent.measuring.profiled_step import RememberedRows
from polyrhythm_agent.ports.denoiser import Denoiser


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes that were allocated at one time beyond what was held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    held_bytes = most_bytes = 0
    profiler: Any = profiled.profiler
    for event in profiler.kineto_results.events():
        if event.name() == "[memory]":
            held_bytes += event.nbytes()
            most_bytes = max(most_bytes, held_bytes)
    return most_bytes


def square_image(denoiser: Denoiser, side_px: int) -> ImageSpec:
    """A square picture with guidance."""
    workload = Workload(model=denoiser.facts.name, width_px=side_px, height_px=side_px, batch=2)
    return profile_image(workload, denoiser)


def forward_bytes(denoiser: Denoiser, image: ImageSpec, rows: int) -> tuple[int, int]:
    """Peak of a forward over the uppermost rows of a picture with guidance, and what the model says of it."""
    run, memory, facts = denoiser.start(image, denoiser.encode(image)), denoiser.facts.memory, denoiser.facts
    assert memory is not None
    own = RowRange(begin=0, end=rows)
    exchange = RememberedRows(rows=own, geometry=run.geometry)
    x_BCHW = run.initial_noise()[:, :, run.geometry.latent_slice(own)]
    measured = peak_bytes(lambda: run.predict(x_BCHW, 0, own, exchange, EmulatedSpeed(speed=1.0)))
    row_count = facts.row_count(image.height_px)
    said_row_bytes = memory.image_token_bytes * row_count + memory.own_token_bytes * rows
    return measured, run.geometry.batch * facts.tokens_per_row(image.width_px) * said_row_bytes
