"""What a decoder refuses for its size: figures that nobody can have measured, lists that nobody can mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.agent.v1 import epoch_pb2, events_pb2, session_pb2
from polyrhythm.codec import bounds
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.fields import FieldError
from polyrhythm.codec.image import image_request_from_proto
from polyrhythm.codec.model import CALIBRATION, MODEL
from polyrhythm.codec.plan import PLAN
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.session.events import BeatDone
from polyrhythm.v1 import device_pb2, image_pb2, model_pb2, profile_pb2
from tests.fakes.model import FACTS
from tests.values.calibrations import calibration
from tests.values.plan_requests import MEMORY
from tests.values.plans import exact_plan


def link(**costs: float) -> events_pb2.PeerLink:
    return events_pb2.PeerLink(peer="b", link=profile_pb2.Link(**costs))


KIND = "CORRECTION_KIND_ELEMENT"
AGENT_FIGURES = (
    ("beat_done", "report.step_s[0]", {"report": {"step_s": [1.7e308] * 4}}),
    ("beat_done", "report.busy_s", {"report": {"busy_s": 1e7}}),
    ("beat_done", "report.wait_s", {"report": {"wait_s": -1.0}}),
    ("beat_done", "report.wall_s", {"report": {"wall_s": float("nan")}}),
    ("beat_done", "report.sent_bytes", {"report": {"sent_bytes": 2**63 - 1}}),
    ("beat_done", "report.active_steps", {"report": {"active_steps": 2**31 - 1}}),
    ("beat_done", "report.step_s", {"report": {"step_s": [1.0] * 1001}}),
    ("beat_done", "report.corrections", {"report": {"corrections": [events_pb2.Correction()] * 5000}}),
    (
        "beat_done",
        "report.corrections[0].step",
        {"report": {"corrections": [events_pb2.Correction(kind=KIND, step=1001)]}},
    ),
    (
        "beat_done",
        "report.corrections[0].elements",
        {"report": {"corrections": [events_pb2.Correction(kind=KIND, layer="block", elements=-1)]}},
    ),
    ("beat_done", "report.corrections[0].layer", {"report": {"corrections": [events_pb2.Correction(kind=KIND)]}}),
    (
        "beat_done",
        "report.corrections[0].layer",
        {"report": {"corrections": [events_pb2.Correction(kind=KIND, layer="x" * 257)]}},
    ),
    ("epoch_joined", "links[0].link.bytes_per_s", {"links": [link(bytes_per_s=1e-300)]}),
    ("epoch_joined", "links[0].link.bytes_per_s", {"links": [link()]}),
    (
        "epoch_joined",
        "links[0].link.latency_s",
        {"links": [link(bytes_per_s=1, latency_s=1e300)]},
    ),
    (
        "epoch_joined",
        "links[0].link.handling_s",
        {"links": [link(bytes_per_s=1, handling_s=-1)]},
    ),
    ("epoch_joined", "links", {"links": [events_pb2.PeerLink()] * 257}),
    ("epoch_joined", "encode_s", {"encode_s": 1e300}),
    ("part_loaded", "loading_s", {"loading_s": 1e300, "part": model_pb2.MODEL_PART_AUTOENCODER}),
    ("step_done", "step", {"step": 1001}),
    ("preview_made", "png", {"png": bytes(1 << 20)}),
    ("image_made", "data", {"data": bytes(1 << 20)}),
    ("image_made", "decode_s", {"decode_s": -1}),
    ("epoch_ended", "held_boundaries", {"outcome": events_pb2.EPOCH_OUTCOME_FAILED, "held_boundaries": [0, 1, 2]}),
)


@pytest.mark.parametrize(("kind", "field", "values"), AGENT_FIGURES)
def test_a_figure_that_nobody_can_have_measured_is_refused_where_it_is_decoded(
    kind: str, field: str, values: dict[str, Any]
) -> None:
    message = getattr(session_pb2.AgentEvent(), kind)
    proto = type(message)(**values)
    (proto.report if kind == "beat_done" else proto).epoch.SetInParent()
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(**{kind: proto}))
    assert caught.value.field == f"{kind}.{field}"


@pytest.mark.parametrize("field", ["fixed_s", "per_row_s", "encode_s", "decode_s", "loading_s", "jitter"])
def test_a_profile_of_figures_that_cannot_be_computed_with_is_refused(field: str) -> None:
    proto = profile_pb2.Profile(agent="b", workload=profile_pb2.Workload(model="m"), per_row_s=1.0)
    setattr(proto, field, 1.7e308)
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(profile_measured=events_pb2.ProfileMeasured(profile=proto)))
    assert caught.value.field == f"profile_measured.profile.{field}"


@pytest.mark.parametrize("value", [5e-324, -1e-12])
def test_what_no_clock_tells_is_nothing(value: float) -> None:
    """Also what is left of a difference of two readings; a logarithm of it would be none."""
    report = events_pb2.BeatReport(epoch=epoch_pb2.EpochId(), step_s=[value], wait_s=value)
    event = AGENT_EVENT.from_proto(session_pb2.AgentEvent(beat_done=events_pb2.BeatDone(report=report)))
    assert isinstance(event, BeatDone)
    assert (event.report.step_s, event.report.wait_s) == ((0.0,), 0.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_px", 2**31 - 1),
        ("latent_bytes_per_token", 2**63 - 1),
        ("default_steps", 1001),
        ("default_guidance", -1.0),
    ],
)
def test_facts_of_a_model_that_cannot_be_are_refused(field: str, value: float) -> None:
    proto = MODEL.to_proto(FACTS)
    setattr(proto, field, value)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(proto)
    assert caught.value.field == f"model.{field}"


def test_layers_whose_bytes_no_64_bits_count_are_refused() -> None:
    group = replace(FACTS.exchanged[0], layers=2**31 - 1, cell_bytes=2**24)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(MODEL.to_proto(replace(FACTS, exchanged=(group,))))
    assert caught.value.field == "model.exchanged"


def test_rims_whose_bytes_no_64_bits_count_are_refused() -> None:
    """A picture of one row is as wide as it has pixels, and so are the rows next to it."""
    group = LayerGroup(kind=LayerKind.HALO, layers=2**20, cell_px=2**15, cell_bytes=2**24, rows_above=2**16)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(MODEL.to_proto(replace(FACTS, pixels_max=2**30, exchanged=(group,))))
    assert caught.value.field == "model.exchanged"


def test_latents_whose_bytes_no_64_bits_count_are_refused() -> None:
    facts = replace(FACTS, pixels_max=bounds.PIXELS_MAX, token_px=1, latent_bytes_per_token=bounds.UNIT_BYTES_MAX)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(MODEL.to_proto(facts))
    assert caught.value.field == "model.latent_bytes_per_token"


def test_embeddings_of_a_long_prompt_whose_bytes_no_64_bits_count_are_refused() -> None:
    memory = replace(MEMORY, condition_bytes=bounds.BYTES_MAX)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(MODEL.to_proto(replace(FACTS, memory=memory)))
    assert caught.value.field == "model.memory.condition_bytes"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("latent_range", {"latent_range": 1e200}),
        ("latent_range", {"latent_range": 1e-200}),
        ("touchiness[2]", {"touchiness": (1.0, 1.0, 1.7e308, 1.0)}),
        ("touchiness[0]", {"touchiness": (1e-200, 1.0, 1.0, 1.0)}),
        ("row_weights[1]", {"row_weights": (1.0, 1.7e308, 1.7e308)}),
        ("row_weights", {"row_weights": (5e-324, 5e-324)}),
        ("saturation_mse", {"saturation_mse": 5e-324}),
        ("seam_power", {"seam_power": float("nan")}),
        ("guidance", {"guidance": 1.7e308}),
    ],
)
def test_a_calibration_of_figures_that_cannot_be_computed_with_is_refused_by_their_name(
    field: str, values: dict[str, Any]
) -> None:
    proto = CALIBRATION.to_proto(calibration())
    for name, value in values.items():
        if isinstance(value, tuple):
            getattr(proto, name)[:] = value
        else:
            setattr(proto, name, value)
    with pytest.raises(FieldError) as caught:
        CALIBRATION.from_proto(proto, "model.calibrations[0]")
    assert caught.value.field == f"model.calibrations[0].{field}"


def test_products_that_no_latents_have_are_refused_by_their_name() -> None:
    proto = CALIBRATION.to_proto(calibration())
    proto.products[0] = 1e300
    with pytest.raises(FieldError) as caught:
        CALIBRATION.from_proto(proto)
    assert caught.value.field == "calibration.products[0]"


def test_a_stride_that_is_none_is_refused_before_any_least_common_multiple() -> None:
    proto = PLAN.to_proto(exact_plan(4, (4, 4)))
    proto.segments[0].assignments[1].stride = 3
    with pytest.raises(FieldError) as caught:
        PLAN.from_proto(proto)
    assert caught.value.field == "plan.segments[0].assignments[1].stride"


def test_a_request_that_names_more_devices_than_there_are_is_the_users_error() -> None:
    devices = [f"gpu-{number}" for number in range(bounds.MEMBERS_MAX + 1)]
    proto = image_pb2.ImageRequest(prompt="p", overrides=image_pb2.PlanOverrides(devices=devices))
    with pytest.raises(InvalidArgumentError) as caught:
        image_request_from_proto(proto)
    assert [violation.field for violation in caught.value.violations] == ["image.overrides.devices"]


def test_a_name_is_no_longer_than_others_can_repeat() -> None:
    register = events_pb2.Register(agent="a" * 257)
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(register=register))
    assert caught.value.field == "register.agent"


def test_a_name_that_no_option_of_an_agent_takes_is_refused() -> None:
    """Every plan repeats it, in every segment."""
    register = events_pb2.Register(agent="two words")
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(register=register))
    assert caught.value.field == "register.agent"


def test_an_agent_that_says_more_of_itself_than_everybody_can_be_told_is_refused() -> None:
    software = [device_pb2.SoftwareVersion(name="s" * 256, version="v" * 256)] * 20
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(register=events_pb2.Register(agent="a", software=software)))
    assert caught.value.field == "register"


@pytest.mark.parametrize("kind", ["layers", "calibrations"])
def test_models_of_which_more_is_said_than_everybody_can_be_told_are_refused(kind: str) -> None:
    """Numbers of calibrations are told to nobody, and do not count; that there are some does."""
    proto = MODEL.to_proto(FACTS)
    if kind == "layers":
        proto.exchanged.extend([proto.exchanged[0]] * (bounds.LAYER_GROUPS_MAX - 2))
    else:
        proto.calibrations.extend([CALIBRATION.to_proto(calibration(steps=8))] * bounds.CALIBRATIONS_MAX)
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(worker_ready=events_pb2.WorkerReady(models=[proto] * 4)))
    assert caught.value.field == "worker_ready.models"


def test_notices_are_told_as_far_as_they_fit_with_a_word_on_the_rest() -> None:
    proto = MODEL.to_proto(replace(FACTS, notices=("short", "long " * 1000, "further", "last")))
    notices = MODEL.from_proto(proto).notices
    assert notices[0] == "short"
    assert notices[1].startswith("long long")
    assert notices[1].endswith("...")
    assert notices[2:] == ("2 more are left out",)
    assert sum(map(len, notices)) <= bounds.NOTICES_CHARACTERS_MAX
    again = MODEL.from_proto(MODEL.to_proto(replace(FACTS, notices=notices)))
    assert again.notices == notices


def test_a_reason_is_shortened_not_refused() -> None:
    """Whoever has a long story to tell is not lost for it."""
    event = AGENT_EVENT.from_proto(session_pb2.AgentEvent(worker_lost=events_pb2.WorkerLost(reason="long " * 4000)))
    assert str(event).count("long ") < 1000
    assert "..." in str(event)


@given(step_s=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=4), wait_s=st.floats())
def test_whatever_a_report_says_it_is_refused_or_can_be_computed_with(step_s: list[float], wait_s: float) -> None:
    report = events_pb2.BeatReport(epoch=epoch_pb2.EpochId(), step_s=step_s, wait_s=wait_s)
    try:
        event = AGENT_EVENT.from_proto(session_pb2.AgentEvent(beat_done=events_pb2.BeatDone(report=report)))
    except FieldError:
        return
    assert isinstance(event, BeatDone)
    figures = (*event.report.step_s, event.report.wait_s)
    assert all(figure == 0 or bounds.SECONDS_MIN <= figure <= bounds.SECONDS_MAX for figure in figures)
