"""Ancestral Euler on UNets in displaced steps: the simulator's picture, and what the fresh noise at the rims is worth.

A patch brings its neighbours' rims to its own noise level without the noise that they have drawn since. The last test
shows that nothing is lost by it: a rim that is known to the last digit makes the picture no better, since all other
layers see the neighbour as of the step before in any case.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_agent.ports.denoiser import DenoiserRun
from polyrhythm_agent.ports.layers import Part
from tests.oracles.canvas import Canvas, PatchView
from tests.oracles.reference import relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import kept_members, run_gang, solo_latent

DEMO_UNET = find_model("demo-unet").path
UNIT_PX = {"sd": 64, "sdxl": 32}
STEPS = 12
SEEDS = range(3)
INDIFFERENT_DB = 0.5
"""Of the mean over the seeds; measured: 0.1 dB."""


def picture(width_px: int, height_px: int, seed: int) -> ImageSpec:
    return ImageSpec(
        model="tiny",
        prompt="a red apple",
        width_px=width_px,
        height_px=height_px,
        steps=STEPS,
        seed=seed,
        guidance=4.0,
        sampler=Sampler.EULER_ANCESTRAL,
        quality=Quality.HIGH,
    )


def displaced(row_count: int) -> Plan:
    rows = (row_count // 2, row_count - row_count // 2)
    return plan(segment(0, 3, rows, beat_steps=3), segment(3, STEPS, rows, exchange=Exchange.DISPLACED, beat_steps=3))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("family", UNIT_PX)
def test_a_displaced_plan_is_the_simulators_picture_at_every_boundary(
    folder: Path, family: str, dtype: torch.dtype, tolerance: float
) -> None:
    spec, followed = picture(64, 8 * UNIT_PX[family], seed=11), displaced(8)
    runs = run_gang(followed, kept_members(folder, followed.agents, dtype), spec)
    (denoiser,) = kept_members(folder, agent_ids(1), dtype).values()
    simulated = PlanSimulator(denoiser.start(spec, denoiser.encode(spec))).simulate(followed)
    for run in runs.values():
        assert set(run.states) == {3, 6, 9, 12}
        for step, state in run.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= tolerance, f"x at {step}"


class KnownRims(PatchView):
    """Sees the neighbours' latent as it is at this very step, fresh noise included, and all else as published."""

    def __init__(self, canvas: Canvas, rows: RowRange, *, step: int, states_BCHW: Tensor) -> None:
        super().__init__(canvas, rows)
        self._step = step
        self._states_BCHW = states_BCHW
        self._own = canvas.geometry.latent_slice(rows)

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        above, below = super().halo(layer, own_BCHW)
        if layer != "conv_in":
            return above, below
        own = self._own
        return self._now(above, slice(own.start - 1, own.start)), self._now(below, slice(own.stop, own.stop + 1))

    def _now(self, part: Part | None, latent_rows: slice) -> Part | None:
        if part is None:
            return None
        return Part(rows=part.rows, step=self._step, tensor=self._states_BCHW[:, :, latent_rows])


class KnowingSimulator(PlanSimulator):
    """As good as rims could be brought to the own step by any means."""

    def __init__(self, run: DenoiserRun) -> None:
        super().__init__(run)
        self._seen_step = -1
        self._states_BCHW = torch.empty(0)

    def _view(self, canvas: Canvas, rows: RowRange, step: int) -> PatchView:
        if step != self._seen_step:  # before any patch of this step has moved on
            self._seen_step, self._states_BCHW = step, torch.cat((self._x_BCHW, self._x0_BCHW), dim=1)
        return KnownRims(canvas, rows, step=step, states_BCHW=self._states_BCHW)


def test_rims_that_are_known_exactly_make_the_picture_no_better() -> None:
    torch.set_num_threads(1)
    denoiser = load_denoiser(DEMO_UNET, model="tiny")
    gains_db: list[float] = []
    for seed in SEEDS:
        spec = picture(denoiser.facts.default_width_px, denoiser.facts.default_height_px, seed)
        run = denoiser.start(spec, denoiser.encode(spec))
        alone_BCHW, followed = solo_latent(run, STEPS), displaced(run.geometry.row_count)
        carried, known = (
            psnr_db(simulator.simulate(followed)[STEPS].x_BCHW, alone_BCHW)
            for simulator in (PlanSimulator(run), KnowingSimulator(run))
        )
        assert carried != known
        gains_db.append(known - carried)
    assert abs(sum(gains_db) / len(gains_db)) < INDIFFERENT_DB


def psnr_db(made_BCHW: Tensor, expected_BCHW: Tensor) -> float:
    mse = (made_BCHW - expected_BCHW).square().mean()
    return float(10 * torch.log10(expected_BCHW.abs().max().square() / mse))
