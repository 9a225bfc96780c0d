"""Devices, models and agents, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polyrhythm.codec.bounds import (
    BYTES_MAX,
    CALIBRATIONS_MAX,
    CONDITION_BYTES_MAX,
    COUNT_MAX,
    FACTS_BYTES_MAX,
    GUIDANCE_MAX,
    LATENTS_BYTES_MAX,
    LAYER_GROUPS_MAX,
    LONG_PROMPTS_MAX,
    MODELS_MAX,
    NOTICES_CHARACTERS_MAX,
    PIXELS_MAX,
    SAMPLERS_MAX,
    SIDE_PX_MAX,
    SOFTWARE_MAX,
    TRAFFIC_BYTES_MAX,
    UNIT_BYTES_MAX,
    check_bytes,
    count,
    few,
    label,
    name,
    told,
    told_all,
    within,
)
from polyrhythm.codec.calibration import calibration_from_proto, calibration_to_proto
from polyrhythm.codec.fields import EnumTable, FieldError, part
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.model.calibration import CalibratedGrid
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import DeviceFacts, DeviceKind, ModelFacts, ModelMemory, ModelPart
from polyrhythm.v1 import fleet_pb2

_GRID_BYTES = 24
"""Of a calibrated grid beside the name of its sampler, at most."""

DEVICE_KINDS = EnumTable(
    DeviceKind,
    {DeviceKind.CPU: fleet_pb2.DEVICE_KIND_CPU, DeviceKind.CUDA: fleet_pb2.DEVICE_KIND_CUDA},
)
LAYER_KINDS = EnumTable(
    LayerKind,
    {
        LayerKind.TOKENS: fleet_pb2.LAYER_KIND_TOKENS,
        LayerKind.HALO: fleet_pb2.LAYER_KIND_HALO,
        LayerKind.MOMENTS: fleet_pb2.LAYER_KIND_MOMENTS,
    },
)
MODEL_PARTS = EnumTable(
    ModelPart,
    {
        ModelPart.TEXT_ENCODER: fleet_pb2.MODEL_PART_TEXT_ENCODER,
        ModelPart.AUTOENCODER: fleet_pb2.MODEL_PART_AUTOENCODER,
    },
)
AGENT_STATES = EnumTable(
    AgentState,
    {
        AgentState.LOADING: fleet_pb2.AGENT_STATE_LOADING,
        AgentState.READY: fleet_pb2.AGENT_STATE_READY,
        AgentState.WORKING: fleet_pb2.AGENT_STATE_WORKING,
        AgentState.DRAINING: fleet_pb2.AGENT_STATE_DRAINING,
        AgentState.DRAINED: fleet_pb2.AGENT_STATE_DRAINED,
        AgentState.MEASURING: fleet_pb2.AGENT_STATE_MEASURING,
    },
)


def software_to_proto(software: Iterable[tuple[str, str]]) -> list[fleet_pb2.SoftwareVersion]:
    """Encodes names and versions of software, in order."""
    return [fleet_pb2.SoftwareVersion(name=name_, version=version) for name_, version in software]


def software_from_proto(protos: Sequence[fleet_pb2.SoftwareVersion], path: str) -> tuple[tuple[str, str], ...]:
    """Decodes names and versions of software, in order.

    Raises:
        WireError: there are too many, or one is too long.
    """
    return tuple(
        (label(proto.name, f"{path}[{index}].name"), label(proto.version, f"{path}[{index}].version"))
        for index, proto in enumerate(few(protos, path, SOFTWARE_MAX))
    )


def device_facts_to_proto(device: DeviceFacts) -> fleet_pb2.Device:
    """Encodes a device."""
    return fleet_pb2.Device(
        uuid=device.uuid,
        name=device.name,
        kind=DEVICE_KINDS.to_proto(device.kind),
        memory_total_bytes=device.memory_total_bytes,
        memory_free_bytes=device.memory_free_bytes,
        driver=device.driver,
        emulated_speed=device.emulated_speed,
        memory_limit_bytes=device.memory_limit_bytes,
        host=device.host,
        kernel=device.kernel,
    )


def device_facts_from_proto(proto: fleet_pb2.Device, path: str = "device") -> DeviceFacts:
    """Decodes a device.

    Raises:
        WireError: the kind is unknown, the uuid is empty, or a figure is out of bounds.
    """
    emulated_speed = (
        within(proto.emulated_speed, f"{path}.emulated_speed", 0.0, 1.0) if proto.HasField("emulated_speed") else None
    )
    return DeviceFacts(
        uuid=name(proto.uuid, f"{path}.uuid"),
        name=label(proto.name, f"{path}.name"),
        kind=DEVICE_KINDS.from_proto(proto.kind, f"{path}.kind"),
        memory_total_bytes=count(proto.memory_total_bytes, f"{path}.memory_total_bytes", BYTES_MAX),
        memory_free_bytes=count(proto.memory_free_bytes, f"{path}.memory_free_bytes", BYTES_MAX),
        driver=label(proto.driver, f"{path}.driver"),
        emulated_speed=emulated_speed,
        memory_limit_bytes=(
            count(proto.memory_limit_bytes, f"{path}.memory_limit_bytes", BYTES_MAX)
            if proto.HasField("memory_limit_bytes")
            else None
        ),
        host=label(proto.host, f"{path}.host"),
        kernel=label(proto.kernel, f"{path}.kernel"),
    )


def model_memory_to_proto(memory: ModelMemory) -> fleet_pb2.ModelMemory:
    """Encodes what a model's parts take."""
    return fleet_pb2.ModelMemory(
        denoiser_bytes=memory.denoiser_bytes,
        text_encoder_bytes=memory.text_encoder_bytes,
        autoencoder_bytes=memory.autoencoder_bytes,
        condition_bytes=memory.condition_bytes,
        own_token_bytes=memory.own_token_bytes,
        image_token_bytes=memory.image_token_bytes,
        decode_pixel_bytes=memory.decode_pixel_bytes,
        tiled_above_pixels=memory.tiled_above_pixels,
        tile_pixels=memory.tile_pixels,
        tiled_pixel_bytes=memory.tiled_pixel_bytes,
        encode_bytes=memory.encode_bytes,
        offloaded_bytes=memory.offloaded_bytes,
    )


def model_memory_from_proto(proto: fleet_pb2.ModelMemory, path: str = "memory") -> ModelMemory:
    """Decodes what a model's parts take.

    Raises:
        WireError: a figure is out of bounds.
    """
    return ModelMemory(
        denoiser_bytes=count(proto.denoiser_bytes, f"{path}.denoiser_bytes", BYTES_MAX),
        text_encoder_bytes=count(proto.text_encoder_bytes, f"{path}.text_encoder_bytes", BYTES_MAX),
        autoencoder_bytes=count(proto.autoencoder_bytes, f"{path}.autoencoder_bytes", BYTES_MAX),
        condition_bytes=count(proto.condition_bytes, f"{path}.condition_bytes", CONDITION_BYTES_MAX),
        own_token_bytes=count(proto.own_token_bytes, f"{path}.own_token_bytes", UNIT_BYTES_MAX),
        image_token_bytes=count(proto.image_token_bytes, f"{path}.image_token_bytes", UNIT_BYTES_MAX),
        decode_pixel_bytes=count(proto.decode_pixel_bytes, f"{path}.decode_pixel_bytes", UNIT_BYTES_MAX),
        tiled_above_pixels=count(proto.tiled_above_pixels, f"{path}.tiled_above_pixels", PIXELS_MAX),
        tile_pixels=count(proto.tile_pixels, f"{path}.tile_pixels", PIXELS_MAX),
        tiled_pixel_bytes=count(proto.tiled_pixel_bytes, f"{path}.tiled_pixel_bytes", UNIT_BYTES_MAX),
        encode_bytes=count(proto.encode_bytes, f"{path}.encode_bytes", BYTES_MAX),
        offloaded_bytes=count(proto.offloaded_bytes, f"{path}.offloaded_bytes", BYTES_MAX),
    )


def model_parts_from_proto(protos: Sequence[int], path: str) -> tuple[ModelPart, ...]:
    """Decodes parts of a model.

    Raises:
        WireError: one of them is unknown, or there are more than exist.
    """
    some = few(protos, path, len(ModelPart))
    return tuple(MODEL_PARTS.from_proto(proto, f"{path}[{index}]") for index, proto in enumerate(some))


def model_facts_to_proto(model: ModelFacts) -> fleet_pb2.Model:
    """Encodes what a model is and takes."""
    return fleet_pb2.Model(
        model=model.model,
        family=model.family,
        fingerprint=model.fingerprint,
        dtype=model.dtype,
        samplers=model.samplers,
        default_width_px=model.default_width_px,
        default_height_px=model.default_height_px,
        default_steps=model.default_steps,
        default_guidance=model.default_guidance,
        pixel_multiple=model.pixel_multiple,
        row_unit_px=model.row_unit_px,
        pixels_max=model.pixels_max,
        token_limit=model.token_limit,
        exchanged=[layer_group_to_proto(group) for group in model.exchanged],
        token_px=model.token_px,
        latent_bytes_per_token=model.latent_bytes_per_token,
        weights_bytes=model.weights_bytes,
        square_only=model.square_only,
        full_rate_samplers=model.full_rate_samplers,
        long_prompts=model.long_prompts,
        notices=model.notices,
        memory=None if model.memory is None else model_memory_to_proto(model.memory),
        calibrations=[calibration_to_proto(calibration) for calibration in model.calibrations],
        calibrated=[
            fleet_pb2.CalibratedGrid(sampler=grid.sampler, steps=grid.steps, pictures=grid.pictures)
            for grid in model.calibrated
        ],
        offloaded=model.offloaded,
        guidance_embedded=model.guidance_embedded,
    )


def models_from_proto(protos: Sequence[fleet_pb2.Model], path: str) -> tuple[ModelFacts, ...]:
    """Decodes the models of a worker, which everybody is told of without the numbers of their calibrations.

    Raises:
        WireError: there are too many, they take too much, or one means nothing.
    """
    few(protos, path, MODELS_MAX)
    check_bytes(sum(map(_told_bytes, protos)), path, FACTS_BYTES_MAX)
    each = NOTICES_CHARACTERS_MAX // max(1, len(protos))
    return tuple(model_facts_from_proto(model, f"{path}[{index}]", each) for index, model in enumerate(protos))


def _told_bytes(proto: fleet_pb2.Model) -> int:
    """About what a model takes where it is told of, notices left aside."""
    aside = sum(calibration.ByteSize() for calibration in proto.calibrations)
    aside += sum(len(notice.encode()) for notice in proto.notices)
    grids = sum(len(calibration.sampler.encode()) + _GRID_BYTES for calibration in proto.calibrations)
    return proto.ByteSize() - aside + grids


def model_facts_from_proto(
    proto: fleet_pb2.Model, path: str = "model", notices_characters: int = NOTICES_CHARACTERS_MAX
) -> ModelFacts:
    """Decodes what a model is and takes.

    Args:
        proto: of the model.
        path: of the field.
        notices_characters: that are kept of its notices.

    Raises:
        WireError: the name is empty, there is no sampler or no exchanging layer, or a figure is out of bounds.
    """
    for field, present in (("samplers", proto.samplers), ("exchanged", proto.exchanged)):
        if not present:
            raise FieldError(f"{path}.{field}", "must not be empty")
    pixels_max = _size(proto.pixels_max, f"{path}.pixels_max", PIXELS_MAX)
    token_px = _size(proto.token_px, f"{path}.token_px", SIDE_PX_MAX)
    latents_most = min(UNIT_BYTES_MAX, LATENTS_BYTES_MAX * token_px**2 // pixels_max)
    return ModelFacts(
        model=name(proto.model, f"{path}.model"),
        family=label(proto.family, f"{path}.family"),
        fingerprint=label(proto.fingerprint, f"{path}.fingerprint"),
        dtype=label(proto.dtype, f"{path}.dtype"),
        samplers=_labels(proto.samplers, f"{path}.samplers", SAMPLERS_MAX),
        default_width_px=_size(proto.default_width_px, f"{path}.default_width_px", SIDE_PX_MAX),
        default_height_px=_size(proto.default_height_px, f"{path}.default_height_px", SIDE_PX_MAX),
        default_steps=_size(proto.default_steps, f"{path}.default_steps", STEPS_MAX),
        default_guidance=within(proto.default_guidance, f"{path}.default_guidance", 0.0, GUIDANCE_MAX),
        pixel_multiple=_size(proto.pixel_multiple, f"{path}.pixel_multiple", SIDE_PX_MAX),
        row_unit_px=_size(proto.row_unit_px, f"{path}.row_unit_px", SIDE_PX_MAX),
        pixels_max=pixels_max,
        token_limit=_size(proto.token_limit, f"{path}.token_limit", COUNT_MAX),
        exchanged=_layer_groups(proto.exchanged, f"{path}.exchanged", pixels_max),
        token_px=token_px,
        latent_bytes_per_token=_size(proto.latent_bytes_per_token, f"{path}.latent_bytes_per_token", latents_most),
        weights_bytes=_size(proto.weights_bytes, f"{path}.weights_bytes", BYTES_MAX),
        square_only=proto.square_only,
        full_rate_samplers=_labels(proto.full_rate_samplers, f"{path}.full_rate_samplers", SAMPLERS_MAX),
        long_prompts=_labels(proto.long_prompts, f"{path}.long_prompts", LONG_PROMPTS_MAX),
        notices=told_all(proto.notices, f"{path}.notices", notices_characters),
        memory=model_memory_from_proto(proto.memory, f"{path}.memory") if proto.HasField("memory") else None,
        calibrations=tuple(
            calibration_from_proto(calibration, f"{path}.calibrations[{index}]")
            for index, calibration in enumerate(few(proto.calibrations, f"{path}.calibrations", CALIBRATIONS_MAX))
        ),
        calibrated=tuple(
            CalibratedGrid(
                sampler=label(grid.sampler, f"{path}.calibrated[{index}].sampler"),
                steps=count(grid.steps, f"{path}.calibrated[{index}].steps", STEPS_MAX),
                pictures=count(grid.pictures, f"{path}.calibrated[{index}].pictures", COUNT_MAX),
            )
            for index, grid in enumerate(few(proto.calibrated, f"{path}.calibrated", CALIBRATIONS_MAX))
        ),
        offloaded=proto.offloaded,
        guidance_embedded=proto.guidance_embedded,
    )


def layer_group_to_proto(group: LayerGroup) -> fleet_pb2.LayerGroup:
    """Encodes layers that exchange messages of the same size."""
    return fleet_pb2.LayerGroup(
        kind=LAYER_KINDS.to_proto(group.kind),
        layers=group.layers,
        cell_px=group.cell_px,
        cell_bytes=group.cell_bytes,
        rows_above=group.rows_above,
        rows_below=group.rows_below,
        guided=group.guided,
    )


def layer_group_from_proto(proto: fleet_pb2.LayerGroup, path: str) -> LayerGroup:
    """Decodes layers that exchange messages of the same size.

    Raises:
        WireError: the kind is unknown, or a figure is out of bounds.
    """
    return LayerGroup(
        kind=LAYER_KINDS.from_proto(proto.kind, f"{path}.kind"),
        layers=_size(proto.layers, f"{path}.layers", COUNT_MAX),
        cell_px=_size(proto.cell_px, f"{path}.cell_px", SIDE_PX_MAX),
        cell_bytes=_size(proto.cell_bytes, f"{path}.cell_bytes", UNIT_BYTES_MAX),
        rows_above=count(proto.rows_above, f"{path}.rows_above", SIDE_PX_MAX),
        rows_below=count(proto.rows_below, f"{path}.rows_below", SIDE_PX_MAX),
        guided=proto.guided,
    )


def agent_view_to_proto(view: AgentView) -> fleet_pb2.Agent:
    """Encodes a connected agent."""
    return fleet_pb2.Agent(
        agent=view.agent,
        state=AGENT_STATES.to_proto(view.state),
        device=device_facts_to_proto(view.device),
        models=[model_facts_to_proto(model) for model in view.models],
        software=software_to_proto(view.software),
        trouble=view.trouble,
    )


def agent_view_from_proto(proto: fleet_pb2.Agent, path: str = "agent") -> AgentView:
    """Decodes a connected agent.

    Raises:
        WireError: a part is missing or means nothing.
    """
    return AgentView(
        agent=AgentId(name(proto.agent, f"{path}.agent")),
        state=AGENT_STATES.from_proto(proto.state, f"{path}.state"),
        device=device_facts_from_proto(part(proto, "device", proto.device, path), f"{path}.device"),
        models=models_from_proto(proto.models, f"{path}.models"),
        software=software_from_proto(proto.software, f"{path}.software"),
        trouble=told(proto.trouble),
    )


def _layer_groups(protos: Sequence[fleet_pb2.LayerGroup], path: str, pixels_max: int) -> tuple[LayerGroup, ...]:
    """Layers of a denoiser, whose activations of the largest picture are counted in 64 bits, however often they go."""
    groups = tuple(
        layer_group_from_proto(proto, f"{path}[{index}]")
        for index, proto in enumerate(few(protos, path, LAYER_GROUPS_MAX))
    )
    count(sum(_whole_bytes(group, pixels_max) for group in groups), path, TRAFFIC_BYTES_MAX)
    return groups


def _whole_bytes(group: LayerGroup, pixels_max: int) -> int:
    """Of the largest picture, or of the rims of one that is all width, if these are more."""
    cells = -(-pixels_max // group.cell_px**2)
    rim_cells = group.cells(min(pixels_max, SIDE_PX_MAX)) * (group.rows_above + group.rows_below)
    return group.layers * group.cell_bytes * max(cells, rim_cells)


def _labels(protos: Sequence[str], path: str, most: int) -> tuple[str, ...]:
    return tuple(label(proto, f"{path}[{index}]") for index, proto in enumerate(few(protos, path, most)))


def _size(value: int, path: str, most: int) -> int:
    """A size or a count, which is never 0: that is how a field arrives that was not set."""
    return count(value, path, most, least=1)
