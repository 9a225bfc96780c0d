"""The largest fleet that a coordinator takes: every agent says as much of itself as it may, in one way or another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import (
    CALIBRATIONS_MAX,
    LAYER_GROUPS_MAX,
    NOTICES_CHARACTERS_MAX,
    REGISTER_BYTES_MAX,
    SOFTWARE_MAX,
)
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.fields import FieldError
from polyrhythm.codec.model import CALIBRATION, MODEL
from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.ids import AgentId
from polyrhythm.model.calibration import Calibration
from polyrhythm.model.request_choices import Sampler
from polyrhythm.session.events import AgentEvent, Register
from polyrhythm.v1 import device_pb2, model_pb2
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from tests.fakes.model import FACTS
from tests.fakes.worker import register

NAMES = tuple(AgentId(f"agent-{number:057}") for number in range(AGENTS_MAX))
SMALL_CALIBRATION = Calibration(
    sampler=Sampler.DDIM,
    steps=4,
    latent_range=1.0,
    stale_begin_steps=(0,),
    merge_steps=(0,),
    following_steps=(),
    unequal_begin_steps=(0,),
    products=(1.0,) * 9,
    touchiness=(1.0,) * 4,
    row_weights=(1.0,),
    saturation_mse=1.0,
    seam_power=0.0,
    width_px=8,
    height_px=8,
    guidance=0.0,
)


def decoded(proto: session_pb2.AgentEvent) -> AgentEvent:
    """An event as a coordinator has it once it has come over the wire."""
    return AGENT_EVENT.from_proto(session_pb2.AgentEvent.FromString(proto.SerializeToString()))


def largest_register(name: AgentId) -> Register:
    """As much software as fits."""
    proto = AGENT_EVENT.to_proto(register(name))
    software = proto.register.software
    del software[:]
    software.extend(device_pb2.SoftwareVersion(name="s") for _ in range(SOFTWARE_MAX))
    for entry in software:
        entry.version = "v" * min(256, max(0, REGISTER_BYTES_MAX - 8 - proto.register.ByteSize()))
    assert proto.register.ByteSize() > REGISTER_BYTES_MAX - 16
    event = decoded(proto)
    assert isinstance(event, Register)
    return event


def largest_models(kind: str) -> AgentEvent:
    """Models that take as much as they may: of many layers, of many calibrations, or of long words."""
    proto = session_pb2.AgentEvent()
    proto.worker_ready.SetInParent()
    for model in _models(kind):
        proto.worker_ready.models.append(model)
    last, taken = proto.worker_ready.models[-1], proto.SerializeToString()
    while _is_taken(proto):
        taken = proto.SerializeToString()
        _grow(last, kind)
    return decoded(session_pb2.AgentEvent.FromString(taken))


def _models(kind: str) -> Iterator[model_pb2.Model]:
    model = MODEL.to_proto(FACTS)
    model.notices.append("\N{BICYCLE}" * NOTICES_CHARACTERS_MAX)
    if kind == "layers":
        while len(model.exchanged) < LAYER_GROUPS_MAX:
            model.exchanged.append(model_pb2.LayerGroup(kind="LAYER_KIND_TOKENS", layers=1, cell_px=1, cell_bytes=1))
        yield model
        del model.exchanged[1:]
    elif kind == "calibrations":
        for _ in range(CALIBRATIONS_MAX):
            model.calibrations.append(CALIBRATION.to_proto(SMALL_CALIBRATION))
        yield from [model] * 2
    yield model


def _grow(model: model_pb2.Model, kind: str) -> None:
    match kind:
        case "layers":
            model.exchanged.append(model_pb2.LayerGroup(kind="LAYER_KIND_TOKENS", layers=1, cell_px=1, cell_bytes=1))
        case "calibrations":
            model.calibrated.append(model_pb2.CalibratedGrid(sampler="SAMPLER_DDIM"))
        case _:
            model.fingerprint += "w"


def _is_taken(proto: session_pb2.AgentEvent) -> bool:
    try:
        decoded(proto)
    except FieldError:
        return False
    return True


KINDS = ("layers", "calibrations", "words")


def connect_all(interpreter: Interpreter, kinds: Iterable[str] = KINDS) -> None:
    """Connects as many agents as there may be, and all of them are ready."""
    ready = tuple(map(largest_models, kinds))
    for number, name in enumerate(NAMES):
        session, _ = interpreter.open_session(largest_register(name))
        interpreter.receive(name, session, ready[number % len(ready)])
