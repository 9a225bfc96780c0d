"""Strategies of figures from all over their bounds on the wire, the bounds themselves among them.

What is drawn has passed the decoders, so an agent may report it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import log2

from hypothesis import assume
from hypothesis import strategies as st

from polyrhythm.codec import bounds
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.fields import FieldError
from polyrhythm.codec.model import CALIBRATION, MODEL
from polyrhythm.codec.profile import LINK, MEASURED_PROFILE
from polyrhythm.ids import AgentId
from polyrhythm.job.image import STEPS_MAX, TEXT_WINDOWS_MAX, ImageSpec, Quality
from polyrhythm.model.calibration import FIGURE_BOUNDS, KINDS, ROW_WEIGHT_LEAST, Calibration
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts, ModelMemory
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import JITTER_MAX, Link, PeakMemory, Profile
from polyrhythm.session.events import AgentEvent, BeatDone, EpochJoined, ImageMade, ProfileMeasured
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from tests.values.plan_requests import FACTS, profile

SAMPLER = Sampler.DPM_SOLVER_PP_2M
"""Looks back, so that jumps in a row count."""
GUIDANCE = 4.0
ROWS_MAX = 24
"""Of pictures that are planned here: more take longer, and no other arithmetic."""


def figures(least: float, most: float, *, zero: bool = False) -> st.SearchStrategy[float]:
    """Floats from a range whose logarithms are about even, both ends and, where it counts too, 0."""
    ends: st.SearchStrategy[float] = st.sampled_from([least, most, *([0.0] if zero else [])])
    return ends | st.floats(log2(least), log2(most)).map(lambda power: min(max(2.0**power, least), most))


def counts(most: int, *, least: int = 0) -> st.SearchStrategy[int]:
    """Whole numbers likewise."""
    powers = st.integers(0, most.bit_length()).map(lambda power: min(max(1 << power, least), most))
    return st.sampled_from([least, most]) | powers


seconds = figures(bounds.SECONDS_MIN, bounds.SECONDS_MAX, zero=True)
sizes = counts(bounds.BYTES_MAX)
unit_sizes = counts(bounds.UNIT_BYTES_MAX)
links = st.builds(
    Link,
    latency_s=seconds,
    bytes_per_s=figures(bounds.BYTES_PER_S_MIN, bounds.BYTES_PER_S_MAX),
    handling_s=seconds,
    handling_s_per_byte=figures(1e-15, bounds.SECONDS_PER_BYTE_MAX, zero=True),
).map(lambda link: LINK.from_proto(LINK.to_proto(link)))
memories = st.none() | st.builds(
    ModelMemory,
    denoiser_bytes=sizes,
    text_encoder_bytes=sizes,
    autoencoder_bytes=sizes,
    condition_bytes=counts(bounds.CONDITION_BYTES_MAX),
    own_token_bytes=unit_sizes,
    image_token_bytes=unit_sizes,
    decode_pixel_bytes=unit_sizes,
)
peaks = st.none() | st.builds(
    PeakMemory,
    forward_fixed_bytes=sizes,
    forward_row_bytes=counts(bounds.TRAFFIC_BYTES_MAX),
    decode_bytes=sizes,
    encode_bytes=sizes,
)
groups = st.builds(
    LayerGroup,
    kind=st.sampled_from(LayerKind),
    layers=counts(bounds.COUNT_MAX, least=1),
    cell_px=counts(bounds.SIDE_PX_MAX, least=1),
    cell_bytes=counts(bounds.UNIT_BYTES_MAX, least=1),
    rows_above=counts(bounds.SIDE_PX_MAX),
    rows_below=counts(bounds.SIDE_PX_MAX),
    guided=st.booleans(),
)


def _places(draw: st.DrawFn, first: int, last: int) -> tuple[int, ...]:
    return tuple(sorted(draw(st.sets(st.integers(first, last), min_size=1, max_size=5))))


@st.composite
def calibrations(draw: st.DrawFn, *, steps: int) -> Calibration:
    """Errors of any sizes and angles, on pictures of any touchiness."""
    stale = _places(draw, 0, steps - 1)
    merges, unequal = _places(draw, 0, steps - 2), _places(draw, 0, steps - 2)
    following = _places(draw, 2, steps - 2) if steps >= 4 and draw(st.booleans()) else ()
    size = len(stale) + len(merges) + len(following) + len(unequal)
    most = draw(figures(1e-300, FIGURE_BOUNDS["products"][1], zero=True))
    some = draw(st.lists(st.sampled_from([-1.0, 0.0, 1e-300, 1e-12, 0.5, 1.0]), min_size=8, max_size=8))
    products = [some[(7 * row + 3 * column) % 8] * most for row in range(size) for column in range(size)]
    products[:: size + 1] = [most, *(abs(some[row % 8]) * most for row in range(1, size))]
    weights = draw(st.lists(figures(1e-300, FIGURE_BOUNDS["row_weights"][1], zero=True), max_size=5))
    drawn = Calibration(
        sampler=SAMPLER,
        steps=steps,
        stale_begin_steps=stale,
        merge_steps=merges,
        following_steps=following,
        unequal_begin_steps=unequal,
        products=tuple(products),
        latent_range=draw(figures(*FIGURE_BOUNDS["latent_range"])),
        saturation_mse=draw(figures(*FIGURE_BOUNDS["saturation_mse"])),
        touchiness=tuple(draw(st.lists(figures(*FIGURE_BOUNDS["touchiness"]), min_size=KINDS, max_size=KINDS))),
        row_weights=(*weights, draw(figures(ROW_WEIGHT_LEAST, FIGURE_BOUNDS["row_weights"][1]))),
        seam_power=draw(st.floats(*FIGURE_BOUNDS["seam_power"])),
        width_px=128,
        height_px=128,
        guidance=GUIDANCE,
    )
    return CALIBRATION.from_proto(CALIBRATION.to_proto(drawn))


@st.composite
def models(draw: st.DrawFn) -> ModelFacts:
    """Facts of a model; layers and latents of any sizes that a decoder takes."""
    pixels_max = draw(counts(bounds.PIXELS_MAX, least=1))
    facts = replace(
        FACTS,
        pixels_max=pixels_max,
        row_unit_px=draw(counts(bounds.SIDE_PX_MAX, least=1)),
        token_px=draw(counts(bounds.SIDE_PX_MAX, least=1)),
        latent_bytes_per_token=draw(counts(bounds.UNIT_BYTES_MAX, least=1)),
        weights_bytes=draw(counts(bounds.BYTES_MAX, least=1)),
        exchanged=tuple(draw(st.lists(groups, min_size=1, max_size=3))),
        memory=draw(memories),
        samplers=(SAMPLER,),
    )
    try:
        return MODEL.from_proto(MODEL.to_proto(facts))
    except FieldError:
        assume(False)
        raise


@st.composite
def pictures(draw: st.DrawFn, facts: ModelFacts) -> ImageSpec:
    """A picture that the model may be asked for, of few rows."""
    height_most = min(bounds.SIDE_PX_MAX, facts.pixels_max, ROWS_MAX * facts.row_unit_px)
    height_px = draw(st.just(height_most) | st.integers(1, height_most))
    width_most = max(1, min(bounds.SIDE_PX_MAX, facts.pixels_max // height_px))
    return ImageSpec(
        model=facts.name,
        prompt="a red apple",
        width_px=draw(st.just(width_most) | st.integers(1, width_most)),
        height_px=height_px,
        steps=draw(st.sampled_from([1, 2, 5, 12, 50, STEPS_MAX])),
        seed=1,
        guidance=GUIDANCE,
        sampler=SAMPLER,
        quality=draw(st.sampled_from(Quality)),
        preview_every_steps=draw(st.sampled_from([0, 1])),
        text_windows=draw(st.sampled_from([1, TEXT_WINDOWS_MAX])),
    )


@st.composite
def profiles(draw: st.DrawFn, agent: str, picture: ImageSpec) -> Profile:
    """What an agent may have measured."""
    drawn = Profile(
        agent=AgentId(agent),
        workload=workload_of(picture),
        fixed_s=draw(seconds),
        per_row_s=draw(figures(bounds.SECONDS_MIN, bounds.SECONDS_MAX)),
        encode_s=draw(seconds),
        decode_s=draw(seconds),
        samples=1,
        memory=draw(peaks),
        loading_s=draw(seconds),
        jitter=draw(st.sampled_from([0.0, 0.1, JITTER_MAX * (1 - 1e-9)])),
    )
    return MEASURED_PROFILE.from_proto(MEASURED_PROFILE.to_proto(drawn))


@st.composite
def alone(draw: st.DrawFn) -> PlanRequest:
    """A picture of any model and size, and one agent of no extremes."""
    facts = draw(models())
    picture = draw(pictures(facts))
    return PlanRequest(image=picture, facts=facts, profiles=(profile("gpu-0", picture, whole_s=1.0),))


@st.composite
def requests(draw: st.DrawFn, *, agents_max: int = 4) -> PlanRequest:
    """A picture to plan for a few agents, resumed or not, on a calibrated model or not."""
    facts = draw(models())
    picture = draw(pictures(facts))
    if 2 <= picture.steps <= 50 and draw(st.booleans()):
        lengths = {max(2, picture.steps - draw(st.integers(0, 1))), picture.steps + draw(st.integers(0, 1))}
        measured = (draw(calibrations(steps=steps)) for steps in sorted(lengths))
        as_made = {"width_px": picture.width_px, "height_px": picture.height_px}
        facts = replace(facts, calibrations=tuple(replace(one, **as_made) for one in measured))
    names = [AgentId(f"gpu-{number}") for number in range(draw(st.integers(1, agents_max)))]
    between = tuple(permutations(names, 2))
    if draw(st.booleans()):  # alike and near one another, so that all of them take part
        one, link = draw(profiles("any", picture)), Link(latency_s=0.0, bytes_per_s=bounds.BYTES_PER_S_MAX)
        measured_by = tuple(replace(one, agent=name) for name in names)
        measured_links = dict.fromkeys(between, link)
    else:
        measured_by = tuple(draw(profiles(name, picture)) for name in names)
        measured_links = {pair: draw(links) for pair in between}
    known = st.none() | sizes
    return PlanRequest(
        image=picture,
        facts=facts,
        profiles=measured_by,
        links=measured_links,
        usable_bytes={name: size for name in names if (size := draw(known)) is not None},
        begin_step=draw(st.sampled_from([0, picture.steps // 2])),
    )


@st.composite
def reported(draw: st.DrawFn, event: AgentEvent) -> AgentEvent:
    """What an agent says, with figures of any sizes in place of those that it has measured."""
    match event:
        case ProfileMeasured(profile=measured):
            costs = ("fixed_s", "encode_s", "decode_s", "loading_s")
            drawn = {name: draw(seconds) for name in costs}
            per_row_s = draw(figures(bounds.SECONDS_MIN, bounds.SECONDS_MAX))
            event = replace(event, profile=replace(measured, **drawn, per_row_s=per_row_s, memory=draw(peaks)))
        case EpochJoined(links=measured_links):
            drawn_links = tuple(replace(held, link=draw(links)) for held in measured_links)
            event = replace(event, encode_s=draw(seconds), links=drawn_links)
        case BeatDone(report=report):
            drawn = {name: draw(seconds) for name in ("busy_s", "wait_s", "wall_s")}
            step_s = tuple(draw(seconds) for _ in report.step_s)
            sent_bytes = draw(counts(bounds.TRAFFIC_BYTES_MAX))
            changed = draw(st.booleans())
            event = BeatDone(report=replace(report, **drawn, step_s=step_s, sent_bytes=sent_bytes, changed=changed))
        case ImageMade():
            event = replace(event, decode_s=draw(seconds))
        case _:
            pass
    return AGENT_EVENT.from_proto(AGENT_EVENT.to_proto(event))
