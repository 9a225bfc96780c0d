"""Devices, models and agents, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from collections.abc import Iterable

from polyrhythm.calibration import Calibration
from polyrhythm.codec.fields import EnumTable, FieldError, finite, invariants, name, part
from polyrhythm.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.facts import DeviceFacts, DeviceKind, ModelFacts, ModelMemory, ModelPart
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId
from polyrhythm.v1 import fleet_pb2

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
    },
)


def software_to_proto(software: Iterable[tuple[str, str]]) -> list[fleet_pb2.SoftwareVersion]:
    """Encodes names and versions of software, in order."""
    return [fleet_pb2.SoftwareVersion(name=name_, version=version) for name_, version in software]


def software_from_proto(protos: Iterable[fleet_pb2.SoftwareVersion]) -> tuple[tuple[str, str], ...]:
    """Decodes names and versions of software, in order."""
    return tuple((proto.name, proto.version) for proto in protos)


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
    )


def device_facts_from_proto(proto: fleet_pb2.Device, path: str = "device") -> DeviceFacts:
    """Decodes a device.

    Raises:
        WireError: the kind is unknown, the uuid is empty, or the emulated speed is not finite.
    """
    emulated_speed = (
        finite(proto.emulated_speed, f"{path}.emulated_speed") if proto.HasField("emulated_speed") else None
    )
    return DeviceFacts(
        uuid=name(proto.uuid, f"{path}.uuid"),
        name=proto.name,
        kind=DEVICE_KINDS.from_proto(proto.kind, f"{path}.kind"),
        memory_total_bytes=proto.memory_total_bytes,
        memory_free_bytes=proto.memory_free_bytes,
        driver=proto.driver,
        emulated_speed=emulated_speed,
        memory_limit_bytes=proto.memory_limit_bytes if proto.HasField("memory_limit_bytes") else None,
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
        WireError: a number is negative.
    """
    with invariants(path):
        return ModelMemory(
            denoiser_bytes=proto.denoiser_bytes,
            text_encoder_bytes=proto.text_encoder_bytes,
            autoencoder_bytes=proto.autoencoder_bytes,
            condition_bytes=proto.condition_bytes,
            own_token_bytes=proto.own_token_bytes,
            image_token_bytes=proto.image_token_bytes,
            decode_pixel_bytes=proto.decode_pixel_bytes,
            tiled_above_pixels=proto.tiled_above_pixels,
            tile_pixels=proto.tile_pixels,
            tiled_pixel_bytes=proto.tiled_pixel_bytes,
            encode_bytes=proto.encode_bytes,
            offloaded_bytes=proto.offloaded_bytes,
        )


def model_parts_from_proto(protos: Iterable[int], path: str) -> tuple[ModelPart, ...]:
    """Decodes parts of a model.

    Raises:
        WireError: one of them is unknown.
    """
    return tuple(MODEL_PARTS.from_proto(proto, f"{path}[{index}]") for index, proto in enumerate(protos))


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
        notices=model.notices,
        memory=None if model.memory is None else model_memory_to_proto(model.memory),
        calibrations=[calibration_to_proto(calibration) for calibration in model.calibrations],
        offloaded=model.offloaded,
    )


def model_facts_from_proto(proto: fleet_pb2.Model, path: str = "model") -> ModelFacts:
    """Decodes what a model is and takes.

    Raises:
        WireError: the name is empty, there is no sampler or no exchanging layer, a size or a count is not positive, or
            the default guidance is not finite.
    """
    for field, present in (("samplers", proto.samplers), ("exchanged", proto.exchanged)):
        if not present:
            raise FieldError(f"{path}.{field}", "must not be empty")
    return ModelFacts(
        model=name(proto.model, f"{path}.model"),
        family=proto.family,
        fingerprint=proto.fingerprint,
        dtype=proto.dtype,
        samplers=tuple(proto.samplers),
        default_width_px=_positive(proto.default_width_px, f"{path}.default_width_px"),
        default_height_px=_positive(proto.default_height_px, f"{path}.default_height_px"),
        default_steps=_positive(proto.default_steps, f"{path}.default_steps"),
        default_guidance=finite(proto.default_guidance, f"{path}.default_guidance"),
        pixel_multiple=_positive(proto.pixel_multiple, f"{path}.pixel_multiple"),
        row_unit_px=_positive(proto.row_unit_px, f"{path}.row_unit_px"),
        pixels_max=_positive(proto.pixels_max, f"{path}.pixels_max"),
        token_limit=_positive(proto.token_limit, f"{path}.token_limit"),
        exchanged=tuple(
            layer_group_from_proto(group, f"{path}.exchanged[{index}]") for index, group in enumerate(proto.exchanged)
        ),
        token_px=_positive(proto.token_px, f"{path}.token_px"),
        latent_bytes_per_token=_positive(proto.latent_bytes_per_token, f"{path}.latent_bytes_per_token"),
        weights_bytes=_positive(proto.weights_bytes, f"{path}.weights_bytes"),
        square_only=proto.square_only,
        full_rate_samplers=tuple(proto.full_rate_samplers),
        notices=tuple(proto.notices),
        memory=model_memory_from_proto(proto.memory, f"{path}.memory") if proto.HasField("memory") else None,
        calibrations=tuple(
            calibration_from_proto(calibration, f"{path}.calibrations[{index}]")
            for index, calibration in enumerate(proto.calibrations)
        ),
        offloaded=proto.offloaded,
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
        WireError: the kind is unknown, a size is not positive, or a halo is negative.
    """
    return LayerGroup(
        kind=LAYER_KINDS.from_proto(proto.kind, f"{path}.kind"),
        layers=_positive(proto.layers, f"{path}.layers"),
        cell_px=_positive(proto.cell_px, f"{path}.cell_px"),
        cell_bytes=_positive(proto.cell_bytes, f"{path}.cell_bytes"),
        rows_above=_not_negative(proto.rows_above, f"{path}.rows_above"),
        rows_below=_not_negative(proto.rows_below, f"{path}.rows_below"),
        guided=proto.guided,
    )


def calibration_to_proto(calibration: Calibration) -> fleet_pb2.Calibration:
    """Encodes what disturbances cost on a model."""
    return fleet_pb2.Calibration(
        sampler=calibration.sampler,
        steps=calibration.steps,
        latent_range=calibration.latent_range,
        stale_begin_steps=calibration.stale_begin_steps,
        merge_steps=calibration.merge_steps,
        following_steps=calibration.following_steps,
        products=calibration.products,
        row_weights=calibration.row_weights,
        saturation_mse=calibration.saturation_mse,
        unequal_begin_steps=calibration.unequal_begin_steps,
        pictures=calibration.pictures,
    )


def calibration_from_proto(proto: fleet_pb2.Calibration, path: str = "calibration") -> Calibration:
    """Decodes what disturbances cost on a model.

    Raises:
        WireError: the numbers do not belong together.
    """
    with invariants(path):
        return Calibration(
            sampler=proto.sampler,
            steps=proto.steps,
            latent_range=proto.latent_range,
            stale_begin_steps=tuple(proto.stale_begin_steps),
            merge_steps=tuple(proto.merge_steps),
            following_steps=tuple(proto.following_steps),
            products=tuple(proto.products),
            row_weights=tuple(proto.row_weights),
            saturation_mse=proto.saturation_mse,
            unequal_begin_steps=tuple(proto.unequal_begin_steps),
            pictures=proto.pictures,
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
        models=tuple(
            model_facts_from_proto(model, f"{path}.models[{index}]") for index, model in enumerate(proto.models)
        ),
        software=software_from_proto(proto.software),
        trouble=proto.trouble,
    )


def _positive(value: int, path: str) -> int:
    """A size or a count, which is never 0: that is how a field arrives that was not set."""
    if value <= 0:
        raise FieldError(path, f"must be positive, got {value}")
    return value


def _not_negative(value: int, path: str) -> int:
    """A count that may be 0."""
    if value < 0:
        raise FieldError(path, f"must not be negative, got {value}")
    return value
