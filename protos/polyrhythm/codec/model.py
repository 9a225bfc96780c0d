"""Models and their calibrations, to and from ``polyrhythm.v1``. Figures of calibrations have the bounds of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyrhythm.codec.bounds import (
    BYTES_MAX,
    CALIBRATIONS_MAX,
    CONDITION_BYTES_MAX,
    COUNT_MAX,
    FACTS_BYTES_MAX,
    GUIDANCE_MAX,
    LATENTS_BYTES_MAX,
    LAYER_GROUPS_MAX,
    MODELS_MAX,
    NOTICES_CHARACTERS_MAX,
    PIXELS_MAX,
    SIDE_PX_MAX,
    TRAFFIC_BYTES_MAX,
    UNIT_BYTES_MAX,
    check_bytes,
    check_length,
    count,
    label,
    name,
    size,
    told_all,
    within,
)
from polyrhythm.codec.fields import at
from polyrhythm.codec.mapping import Coder, EnumTable, Few, Mapped, Optional, trusted
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.model.calibration import DISTURBANCES_MAX, KINDS, PICTURES_MAX, CalibratedGrid, Calibration
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts, ModelMemory, ModelPart
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.v1 import model_pb2

_GRID_BYTES = 24
"""Of a calibrated grid, at most."""

SAMPLERS = EnumTable(Sampler, model_pb2.Sampler)
LONG_PROMPTS = EnumTable(LongPrompt, model_pb2.LongPrompt)
MODEL_PARTS = EnumTable(ModelPart, model_pb2.ModelPart)


def _check_lists(proto: model_pb2.Calibration) -> None:
    """Lists that can belong together, before any of them is gone through."""
    windows = len(proto.stale_begin_steps) + len(proto.unequal_begin_steps)
    disturbances = windows + len(proto.merge_steps) + len(proto.following_steps)
    with at("products"):
        count(DISTURBANCES_MAX)(disturbances)
        check_length(proto.products, disturbances**2)
    with at("row_weights"):
        check_length(proto.row_weights, SIDE_PX_MAX)
    with at("touchiness"):
        check_length(proto.touchiness, KINDS * PICTURES_MAX)


_LISTED = Few(None, trusted)
CALIBRATION = Mapped(
    Calibration,
    model_pb2.Calibration,
    before=_check_lists,
    sampler=SAMPLERS,
    steps=count(STEPS_MAX),
    latent_range=trusted,
    stale_begin_steps=_LISTED,
    merge_steps=_LISTED,
    following_steps=_LISTED,
    unequal_begin_steps=_LISTED,
    products=_LISTED,
    touchiness=_LISTED,
    row_weights=_LISTED,
    saturation_mse=trusted,
    seam_power=trusted,
    width_px=count(SIDE_PX_MAX),
    height_px=count(SIDE_PX_MAX),
    guidance=trusted,
)
_MEMORY = Mapped(
    ModelMemory,
    model_pb2.ModelMemory,
    denoiser_bytes=count(BYTES_MAX),
    text_encoder_bytes=count(BYTES_MAX),
    autoencoder_bytes=count(BYTES_MAX),
    condition_bytes=count(CONDITION_BYTES_MAX),
    own_token_bytes=count(UNIT_BYTES_MAX),
    image_token_bytes=count(UNIT_BYTES_MAX),
    decode_pixel_bytes=count(UNIT_BYTES_MAX),
    tiled_above_pixels=count(PIXELS_MAX),
    tile_pixels=count(PIXELS_MAX),
    tiled_pixel_bytes=count(UNIT_BYTES_MAX),
    encode_bytes=count(BYTES_MAX),
    offloaded_bytes=count(BYTES_MAX),
)
_LAYER_GROUP = Mapped(
    LayerGroup,
    model_pb2.LayerGroup,
    kind=EnumTable(LayerKind, model_pb2.LayerKind),
    layers=size(COUNT_MAX),
    cell_px=size(SIDE_PX_MAX),
    cell_bytes=size(UNIT_BYTES_MAX),
    rows_above=count(SIDE_PX_MAX),
    rows_below=count(SIDE_PX_MAX),
)
_GRID = Mapped(
    CalibratedGrid, model_pb2.CalibratedGrid, sampler=SAMPLERS, steps=count(STEPS_MAX), pictures=count(COUNT_MAX)
)


def _check_traffic(facts: ModelFacts) -> None:
    """Latents and activations of the largest picture are counted in 64 bits, however often they go."""
    with at("latent_bytes_per_token"):
        size(LATENTS_BYTES_MAX * facts.token_px**2 // facts.pixels_max)(facts.latent_bytes_per_token)
    with at("exchanged"):
        count(TRAFFIC_BYTES_MAX)(sum(_whole_bytes(group, facts.pixels_max) for group in facts.exchanged))


def _whole_bytes(group: LayerGroup, pixels_max: int) -> int:
    """Of the largest picture, or of the rims of one that is all width, if these are more."""
    cells = -(-pixels_max // group.cell_px**2)
    rim_cells = group.cells(min(pixels_max, SIDE_PX_MAX)) * (group.rows_above + group.rows_below)
    return group.layers * group.cell_bytes * max(cells, rim_cells)


MODEL = Mapped(
    ModelFacts,
    model_pb2.Model,
    after=_check_traffic,
    name=name,
    family=label,
    fingerprint=label,
    dtype=label,
    samplers=Few(len(Sampler), SAMPLERS, least=1),
    full_rate_samplers=Few(len(Sampler), SAMPLERS),
    default_width_px=size(SIDE_PX_MAX),
    default_height_px=size(SIDE_PX_MAX),
    default_steps=size(STEPS_MAX),
    default_guidance=within(0.0, GUIDANCE_MAX),
    pixel_multiple=size(SIDE_PX_MAX),
    row_unit_px=size(SIDE_PX_MAX),
    pixels_max=size(PIXELS_MAX),
    token_limit=size(COUNT_MAX),
    long_prompts=Few(len(LongPrompt), LONG_PROMPTS),
    token_px=size(SIDE_PX_MAX),
    latent_bytes_per_token=size(UNIT_BYTES_MAX),
    weights_bytes=size(BYTES_MAX),
    exchanged=Few(LAYER_GROUPS_MAX, _LAYER_GROUP, least=1),
    memory=Optional(_MEMORY),
    notices=told_all,
    calibrations=Few(CALIBRATIONS_MAX, CALIBRATION),
    calibrated=Few(CALIBRATIONS_MAX, _GRID),
)


class _ModelsOfWorker(Coder):
    """The models of a worker, which everybody is told of without the numbers of their calibrations.

    Their notices share the room for those of one worker.
    """

    def __init__(self) -> None:
        models = Few(MODELS_MAX, MODEL)

        def decode(value: Sequence[model_pb2.Model]) -> tuple[ModelFacts, ...]:
            check_length(value, MODELS_MAX)
            check_bytes(sum(map(_told_bytes, value)), FACTS_BYTES_MAX)
            each = NOTICES_CHARACTERS_MAX // max(1, len(value))
            return tuple(
                replace(facts, notices=told_all(proto.notices, each)) if facts.notices else facts
                for facts, proto in zip(models.decode(value), value, strict=True)
            )

        self.encode, self.decode = models.encode, decode


def _told_bytes(proto: model_pb2.Model) -> int:
    """About what a model takes where it is told of, notices left aside."""
    aside = sum(calibration.ByteSize() for calibration in proto.calibrations)
    aside += sum(len(notice.encode()) for notice in proto.notices)
    return proto.ByteSize() - aside + _GRID_BYTES * len(proto.calibrations)


MODELS = _ModelsOfWorker()
