"""UNet families over patches: `exact` is diffusers' picture, any other plan the simulator's, a lost message is seen.

Tolerances as for the transformers: relative to max |latent|, fp32 1e-5 and fp64 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_agent.epoch.step_loop import Exchange as StepExchange
from polyrhythm_agent.ports.layers import Part
from tests.oracles.reference import plain_pipeline, relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.tiny_models.families import HALVES
from tests.tiny_models.unets import GUIDED_SDXL, TINY_UNETS, tiny_sdxl_folder
from tests.values.plans import agent_ids, exact_plan, plan, segment
from tests.worlds.gang import GangOptions, kept_members, run_gang
from tests.worlds.tapped_exchange import TappedExchange

STEPS = 8
MOVING_STEPS = 14
LOSSY_STEPS = 4
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
MARGIN = 100
DISPLACED = Exchange.DISPLACED
UNIT_PX = {"sd": 64, "sdxl": 32}


def image(family: str, *, rows: int = 8, width_px: int = 64, **changes: Any) -> ImageSpec:
    spec = ImageSpec(
        model="tiny",
        prompt="a red apple",
        width_px=width_px,
        height_px=rows * UNIT_PX[family],
        steps=STEPS,
        seed=11,
        guidance=5.0,
        sampler=Sampler.DDIM,
        quality=Quality.EXACT,
    )
    return replace(spec, **changes)


@cache
def plain_latent(folder: Path, spec: ImageSpec, dtype: torch.dtype) -> Tensor:
    """The clean latent of diffusers' own pipeline, from this project's noise; the same for every split."""
    (member,) = kept_members(folder, agent_ids(1), dtype).values()
    with torch.inference_mode():
        noise_BCHW = member.start(spec, member.encode(spec)).initial_noise()
    return plain_pipeline(folder, spec.sampler, dtype)(
        spec.prompt,
        negative_prompt=spec.negative_prompt or None,
        height=spec.height_px,
        width=spec.width_px,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        latents=noise_BCHW,
        output_type="latent",
    ).images


def exact_difference(folder: Path, spec: ImageSpec, dtype: torch.dtype, counts: tuple[int, ...]) -> float:
    """Between diffusers' picture and that of a gang whose members hold so many row units."""
    agents = agent_ids(len(counts))
    runs = run_gang(exact_plan(spec.steps, counts, beat_steps=5), kept_members(folder, agents, dtype), spec)
    finals = [run.states[spec.steps].x_BCHW for run in runs.values()]
    assert all(torch.equal(final_BCHW, finals[0]) for final_BCHW in finals)
    assert [run.sent_bytes for run in runs.values()] == [run.predicted_bytes for run in runs.values()]
    return relative_difference(finals[0], plain_latent(folder, spec, dtype))


@pytest.mark.parametrize(("dtype", "sampler"), HALVES)
@pytest.mark.parametrize("counts", [(8,), (6, 2), (1, 4, 3), (2, 1, 4, 1)], ids=lambda counts: f"{len(counts)}")
@pytest.mark.parametrize("family", TINY_UNETS)
def test_exact_is_the_picture_of_plain_diffusers(
    folders: Mapping[str, Path],
    family: str,
    counts: tuple[int, ...],
    dtype: torch.dtype,
    sampler: Sampler,
    record_property: Callable[[str, object], None],
) -> None:
    difference = exact_difference(folders[family], image(family, sampler=sampler), dtype, counts)
    record_property("difference", difference)
    assert difference <= TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("family", "height_px", "width_px", "counts"),
    [("sd", 96, 72, (1, 1)), ("sd", 1080, 40, (11, 6)), ("sdxl", 136, 104, (2, 1, 2))],
)
def test_any_multiple_of_8_pixels_will_do(
    folders: Mapping[str, Path], family: str, height_px: int, width_px: int, counts: tuple[int, ...]
) -> None:
    spec = image(family, height_px=height_px, width_px=width_px)
    assert exact_difference(folders[family], spec, torch.float64, counts) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("changes", [{"guidance": 1.0}, {"negative_prompt": "blurry cat"}], ids=["alone", "negative"])
@pytest.mark.parametrize("family", TINY_UNETS)
def test_other_pictures(folders: Mapping[str, Path], family: str, changes: dict[str, Any]) -> None:
    assert exact_difference(folders[family], image(family, **changes), torch.float64, (5, 3)) <= 1e-9


def test_a_unet_may_have_no_middle_block(folders: Mapping[str, Path]) -> None:
    assert exact_difference(folders["small"], image("sdxl"), torch.float64, (5, 3)) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("guidance", [0.0, 1.0, 8.5])
def test_a_unet_that_is_told_the_guidance_runs_once_a_step(tmp_path: Path, guidance: float) -> None:
    folder = tiny_sdxl_folder(tmp_path, **GUIDED_SDXL)
    spec = image("sdxl", guidance=guidance)
    # Counted and sent bytes are compared too: there is one half of each.
    assert exact_difference(folder, spec, torch.float64, (5, 3)) <= TOLERANCES[torch.float64]
    (member,) = kept_members(folder, agent_ids(1), torch.float64).values()
    assert member.geometry(spec).batch == member.facts.batch(guidance) == 1


def moving_plans() -> dict[str, Plan]:
    """Plans whose rows move between segments; the first step after a move is synchronous."""
    return {
        "balanced": plan(
            segment(0, 3, (6, 2), beat_steps=2),
            segment(3, 4, (4, 4), beat_steps=1),
            segment(4, 10, (4, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=4),
            segment(10, 11, (5, 3), beat_steps=1),
            segment(11, 14, (5, 3), exchange=DISPLACED, beat_steps=2),
        ),
        "drained and back": plan(
            segment(0, 2, (3, 3, 2), beat_steps=4),
            segment(2, 5, (3, 3, 2), exchange=DISPLACED, beat_steps=2),
            segment(5, 6, (5, 0, 3), beat_steps=1),
            segment(6, 10, (5, 0, 3), exchange=DISPLACED, strides=(1, 1, 2), beat_steps=2),
            segment(10, 11, (2, 4, 2), beat_steps=1),
            segment(11, 14, (2, 4, 2), exchange=DISPLACED, beat_steps=4),
        ),
    }


@pytest.mark.parametrize(("dtype", "sampler"), HALVES)
@pytest.mark.parametrize("name", list(moving_plans()))
@pytest.mark.parametrize("family", TINY_UNETS)
def test_any_plan_is_the_simulators_picture_at_every_boundary(
    folders: Mapping[str, Path], family: str, name: str, dtype: torch.dtype, sampler: Sampler
) -> None:
    spec, followed = image(family, sampler=sampler, steps=MOVING_STEPS), moving_plans()[name]
    runs = run_gang(followed, kept_members(folders[family], followed.agents, dtype), spec)
    (denoiser,) = kept_members(folders[family], agent_ids(1), dtype).values()
    simulated = PlanSimulator(denoiser.start(spec, denoiser.encode(spec))).simulate(followed)
    for run in runs.values():
        assert run.sent_bytes == run.predicted_bytes
        assert set(run.states) == {beat.end_step for beat in followed.beats()}
        for step, state in run.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCES[dtype], f"x at {step}"


def test_rows_that_move_into_a_displaced_step_are_refused(folders: Mapping[str, Path]) -> None:
    moved = plan(segment(0, 4, (4, 4), beat_steps=4), segment(4, STEPS, (5, 3), exchange=DISPLACED, beat_steps=4))
    with pytest.raises(ValueError, match="rows move at step 4, which must be synchronous"):
        run_gang(moved, kept_members(folders["sd"], moved.agents, torch.float32), image("sd"))


class LossyExchange(TappedExchange):
    """Loses what others say in one layer of one step; its member holds the top of the picture."""

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        all_KBND = super().gather(layer, own_KBND)
        if not self.is_tapped(layer):
            return all_KBND
        alone_KBND = torch.zeros_like(all_KBND)
        alone_KBND[:, :, : own_KBND.shape[2]] = own_KBND
        return alone_KBND

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        above, below = super().halo(layer, own_BCHW)
        if self.is_tapped(layer) and below is not None:
            below = replace(below, tensor=torch.zeros_like(below.tensor))
        return above, below

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        parts = super().collect(layer, own_MBG)
        return () if self.is_tapped(layer) else parts


@pytest.mark.parametrize("family", TINY_UNETS)
def test_losing_any_one_message_is_seen(folders: Mapping[str, Path], family: str) -> None:
    """One layer of each kind at each level, at the first, a middle and the last step; the strided convolution, which
    needs nothing from below, is left out."""
    spec, agents = image(family, steps=LOSSY_STEPS), agent_ids(2)
    members = kept_members(folders[family], agents, torch.float64)
    followed = exact_plan(LOSSY_STEPS, (5, 3), beat_steps=LOSSY_STEPS)
    reference_BCHW = run_gang(followed, members, spec)[agents[0]].states[LOSSY_STEPS].x_BCHW
    limit = MARGIN * TOLERANCES[torch.float64] * max(1.0, float(reference_BCHW.abs().max()))
    layers = members[agents[0]].geometry(spec).layers
    kinds: dict[tuple[LayerKind, int], LayerId] = {}
    for layer, sizes in layers.items():
        if sizes.kind is not LayerKind.HALO or sizes.rows_below:
            kinds.setdefault((sizes.kind, sizes.shrink), layer)
    unseen: list[tuple[str, float]] = []
    for number, ((kind, shrink), layer) in enumerate(kinds.items()):
        step = (0, LOSSY_STEPS // 2, LOSSY_STEPS - 1)[number % 3]

        def wrap(agent: AgentId, exchange: StepExchange, *, step: int = step, layer: LayerId = layer) -> StepExchange:
            if agent != agents[0]:
                return exchange
            return LossyExchange(exchange, step=step, layer=layer)  # pyright: ignore[reportReturnType]

        runs = run_gang(followed, members, spec, GangOptions(wrap=wrap))
        difference = float((runs[agents[0]].states[LOSSY_STEPS].x_BCHW - reference_BCHW).abs().max())
        if difference <= limit:
            unseen.append((f"{kind} at a {shrink}th of the rows in step {step}", difference / limit))
    assert not unseen
