"""Requests for the planner's tests: a small transformer, agents by relative speed, one link between every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelFacts, ModelMemory
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Link, Profile, Workload
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from tests.tiny_models.layer_groups import token_groups

NO_COST = Link(latency_s=0.0, bytes_per_s=1e18)
LOOPBACK = Link(latency_s=0.2e-3, bytes_per_s=1.5e9)

MEMORY = ModelMemory(
    denoiser_bytes=6000,
    text_encoder_bytes=3000,
    autoencoder_bytes=1000,
    condition_bytes=500,
    own_token_bytes=10_000,
    image_token_bytes=2_000,
    decode_pixel_bytes=300,
)
"""Of a model whose working memory matters more than its weights."""

FACTS = ModelFacts(
    name="tiny",
    family="pixart",
    fingerprint="0",
    dtype="float32",
    samplers=(Sampler.DDIM,),
    default_width_px=128,
    default_height_px=128,
    default_steps=50,
    default_guidance=4.0,
    pixel_multiple=8,
    row_unit_px=8,
    pixels_max=1 << 24,
    token_limit=77,
    exchanged=token_groups(8, cell_bytes=2 * 256 * 4),
    token_px=8,
    latent_bytes_per_token=64,
    weights_bytes=1,
)


def image(*, quality: Quality = Quality.BALANCED, steps: int = 50, rows: int = 16, guidance: float = 4.0) -> ImageSpec:
    return ImageSpec(
        model=FACTS.name,
        prompt="a red apple",
        width_px=128,
        height_px=rows * FACTS.row_unit_px,
        steps=steps,
        seed=1,
        guidance=guidance,
        sampler=Sampler.DDIM,
        quality=quality,
    )


def profile(
    agent: str,
    picture: ImageSpec,
    *,
    whole_s: float,
    fixed_share: float = 0.0,
    encode_s: float = 0.0,
    decode_s: float = 0.0,
) -> Profile:
    """An agent that needs ``whole_s`` for a forward over the whole picture."""
    return Profile(
        agent=AgentId(agent),
        workload=Workload(
            model=picture.model,
            width_px=picture.width_px,
            height_px=picture.height_px,
            batch=2 if picture.guidance > 1 else 1,
        ),
        fixed_s=whole_s * fixed_share,
        per_row_s=whole_s * (1 - fixed_share) / FACTS.row_count(picture.height_px),
        encode_s=encode_s,
        decode_s=decode_s,
        samples=1,
    )


def plan_request(
    speeds: Sequence[float],
    *,
    quality: Quality = Quality.BALANCED,
    steps: int = 50,
    rows: int = 16,
    begin_step: int = 0,
    whole_s: float = 1.0,
    fixed_share: float = 0.0,
    fixed_shares: Sequence[float] | None = None,
    link: Link = NO_COST,
    facts: ModelFacts = FACTS,
    usable_bytes: Mapping[AgentId, int] | None = None,
) -> PlanRequest:
    """Agents gpu-0, gpu-1, ... that need ``whole_s / speed`` for a forward over the whole picture."""
    picture = image(quality=quality, steps=steps, rows=rows)
    shares = fixed_shares or [fixed_share] * len(speeds)
    profiles = tuple(
        profile(f"gpu-{index}", picture, whole_s=whole_s / speed, fixed_share=share)
        for index, (speed, share) in enumerate(zip(speeds, shares, strict=True))
    )
    return PlanRequest(
        image=picture,
        facts=facts,
        profiles=profiles,
        links=dict.fromkeys(permutations((p.agent for p in profiles), 2), link),
        begin_step=begin_step,
        usable_bytes=usable_bytes or {},
    )
