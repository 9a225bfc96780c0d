"""What a plan makes a device hold, worked out by hand, and what becomes of devices on which it does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Overrides, Quality
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.profile import PeakMemory
from polyrhythm_coordinator.scheduling.planning.explanation import notices
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit, memory_need, share_need
from polyrhythm_coordinator.scheduling.planning.plan_builder import solo_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.tiny_models.layer_groups import token_groups
from tests.values.calibrations import calibration
from tests.values.plan_requests import FACTS, MEMORY, plan_request

ROOMY = 10**12
A, B = AgentId("gpu-0"), AgentId("gpu-1")
WITH_MEMORY = replace(FACTS, memory=MEMORY, weights_bytes=10_000)
TOKENS = 16 * 16
LASTING_BYTES = 6_000 + 2 * 500 + 8 * TOKENS * 64
VERSION_BYTES = 2 * TOKENS * 8 * 2 * 256 * 4
DECODE_BYTES = 300 * 128 * 128
AUTOENCODER_BYTES = 1_000
ENCODES, DECODES = frozenset({ModelPart.TEXT_ENCODER}), frozenset({ModelPart.AUTOENCODER})


def forward_bytes(rows: int) -> int:
    return 2 * (2_000 * TOKENS + 10_000 * 16 * rows)


def request_for(speeds: list[float], *usable_bytes: int, quality: Quality = Quality.BALANCED) -> PlanRequest:
    usable = {AgentId(f"gpu-{index}"): size for index, size in enumerate(usable_bytes)}
    return plan_request(speeds, facts=WITH_MEMORY, usable_bytes=usable, quality=quality)


def test_one_device_holds_weights_condition_latents_and_the_larger_of_two_working_memories() -> None:
    request = request_for([1.0])
    need = memory_need(solo_plan(request, A), A, request)
    assert need.lasting_bytes == LASTING_BYTES
    assert (need.exchange_bytes, need.forward_bytes, need.decode_bytes) == (0, forward_bytes(16), DECODE_BYTES)
    assert need.total_bytes == LASTING_BYTES + max(forward_bytes(16), AUTOENCODER_BYTES + DECODE_BYTES)


def test_a_text_in_several_windows_is_held_whole() -> None:
    request = request_for([1.0])
    longer = replace(request, image=replace(request.image, text_windows=3))
    alone, three = (memory_need(solo_plan(each, A), A, each) for each in (request, longer))
    assert three.lasting_bytes - alone.lasting_bytes == 2 * (2 * 500)


def test_the_text_encoder_is_held_beside_the_denoiser_only_while_a_prompt_is_encoded() -> None:
    facts = replace(WITH_MEMORY, memory=replace(MEMORY, text_encoder_bytes=10**9, encode_bytes=70))
    request = plan_request([1.0, 0.5], facts=facts)
    plan = search_plan(request).chosen.plan
    assert plan.agents == (A, B)
    assert plan.encoder == A
    needs = {agent: memory_need(plan, agent, request) for agent in plan.agents}
    assert needs[A].total_bytes == needs[A].encoding_bytes == 6_000 + 2 * 500 + 10**9 + 70
    assert needs[B].text_encoder_bytes == needs[B].encode_bytes == 0
    assert needs[B].total_bytes == needs[B].denoising_bytes
    resumed = replace(request, begin_step=10)
    rest = search_plan(resumed).chosen.plan
    assert memory_need(rest, A, resumed).text_encoder_bytes == 0


@pytest.mark.parametrize(("exchange", "versions"), [(Exchange.SYNCHRONOUS, 1), (Exchange.DISPLACED, 2)])
def test_a_member_holds_versions_of_the_whole_picture(exchange: Exchange, versions: int) -> None:
    need = share_need(request_for([1.0, 1.0]), A, rows=5, exchange=exchange, in_gang=True)
    assert (need.exchange_bytes, need.decode_bytes) == (versions * VERSION_BYTES, 0)
    assert need.total_bytes == LASTING_BYTES + versions * VERSION_BYTES + forward_bytes(5)


def test_a_member_without_rows_holds_neither_activations_nor_working_memory() -> None:
    need = share_need(request_for([1.0, 1.0]), A, rows=0, exchange=Exchange.DISPLACED, in_gang=True)
    assert need.total_bytes == LASTING_BYTES


def test_previews_are_decoded_beside_the_activations() -> None:
    request = request_for([1.0, 1.0])
    request = replace(request, image=replace(request.image, preview_every_steps=5))
    need = share_need(request, A, rows=1, exchange=Exchange.SYNCHRONOUS, in_gang=True, roles=DECODES)
    assert need.decoding_bytes == LASTING_BYTES + AUTOENCODER_BYTES + VERSION_BYTES + DECODE_BYTES
    assert need.denoising_bytes == LASTING_BYTES + AUTOENCODER_BYTES + VERSION_BYTES + forward_bytes(1)


def test_the_widest_segment_counts() -> None:
    request = request_for([1.0, 0.5])
    plan = search_plan(request).chosen.plan
    widest = max(s.of(A).rows.count for s in plan.segments if s.exchange is Exchange.DISPLACED)
    assert memory_need(plan, A, request).total_bytes == LASTING_BYTES + 2 * VERSION_BYTES + forward_bytes(widest)


def test_what_a_device_measured_counts_in_place_of_the_formula() -> None:
    request = request_for([1.0])
    measured = PeakMemory(forward_fixed_bytes=7, forward_row_bytes=3, decode_bytes=5, encode_bytes=9)
    request = replace(request, profiles=(replace(request.profiles[0], memory=measured),))
    need = memory_need(solo_plan(request, A), A, request)
    assert (need.forward_bytes, need.decode_bytes, need.encode_bytes) == (7 + 16 * 3, 5, 9)


def test_a_model_that_cannot_say_counts_weights_activations_and_latents() -> None:
    request = plan_request([1.0, 1.0])
    need = share_need(request, A, rows=5, exchange=Exchange.SYNCHRONOUS, in_gang=True, roles=DECODES)
    assert need.total_bytes == 1 + 8 * TOKENS * 64 + VERSION_BYTES


@pytest.mark.parametrize("rows", [1, 2, 7, 15, 16])
def test_exactly_the_rows_that_fit_are_allowed(rows: int) -> None:
    needed = share_need(request_for([1.0, 1.0]), A, rows=rows, exchange=Exchange.DISPLACED, in_gang=True).total_bytes
    for usable_bytes, expected in ((needed, rows), (needed - 1, rows - 1), (needed + 1, rows)):
        fit = MemoryFit(request=request_for([1.0, 1.0], usable_bytes, ROOMY))
        assert fit.rows(A, exchange=Exchange.DISPLACED, in_gang=True) == expected
    assert MemoryFit(request=request_for([1.0])).rows(A, exchange=Exchange.DISPLACED, in_gang=True) == 16


def test_a_device_gets_no_more_rows_than_fit() -> None:
    three_rows = LASTING_BYTES + 2 * VERSION_BYTES + forward_bytes(3)
    assert three_rows > LASTING_BYTES + DECODE_BYTES
    plan = search_plan(request_for([1.0, 1.0], three_rows, ROOMY, quality=Quality.HIGH)).chosen.plan
    assert {s.of(A).rows.count for s in plan.segments if s.exchange is Exchange.DISPLACED} == {3}
    for share in search_plan(request_for([1.0, 1.0], three_rows, ROOMY)).chosen.prediction.agents:
        assert share.memory_bytes <= (three_rows if share.agent == A else ROOMY)


def test_a_device_on_which_no_share_fits_is_left_out_with_both_sizes() -> None:
    explanation = search_plan(request_for([1.0, 1.0], 20_000_000, 400_000, quality=Quality.EXACT))
    assert explanation.chosen.plan.agents == (A,)
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == (B, ExclusionReason.TOO_LITTLE_MEMORY)
    assert exclusion.message == (
        "gpu-1 does not fit: the smallest share of this picture needs 6.0 MiB (weights 0.0 MiB), free to it are 0.4 MiB"
    )


@pytest.mark.parametrize(
    ("offloaded", "usable_bytes", "told"),
    [
        (
            False,
            30 << 20,
            "needs 106.0 MiB (weights 100.0 MiB), free to it are 30.0 MiB; with --offload always",
        ),
        (True, 10 << 20, "needs 26.0 MiB (weights 20.0 MiB), free to it are 10.0 MiB; without --offload"),
    ],
)
def test_a_device_that_is_left_out_is_told_what_both_modes_need(offloaded: bool, usable_bytes: int, told: str) -> None:
    facts = replace(WITH_MEMORY, memory=replace(MEMORY, denoiser_bytes=100 << 20, offloaded_bytes=20 << 20))
    request = plan_request([1.0, 1.0], facts=facts, usable_bytes={A: ROOMY, B: usable_bytes}, quality=Quality.EXACT)
    request = replace(request, profiles=(request.profiles[0], replace(request.profiles[1], offloaded=offloaded)))
    (exclusion,) = search_plan(request).exclusions
    assert (exclusion.agent, exclusion.reason) == (B, ExclusionReason.TOO_LITTLE_MEMORY)
    assert told in exclusion.message


def test_an_offloaded_device_gets_rows_where_it_could_not_hold_the_denoiser() -> None:
    facts = replace(WITH_MEMORY, memory=replace(MEMORY, denoiser_bytes=100 << 20, offloaded_bytes=20 << 20))
    request = plan_request([1.0, 1.0], facts=facts, usable_bytes={A: ROOMY, B: 40 << 20}, quality=Quality.EXACT)
    assert search_plan(request).chosen.plan.agents == (A,)
    request = replace(request, profiles=(request.profiles[0], replace(request.profiles[1], offloaded=True)))
    chosen = search_plan(request).chosen
    assert chosen.plan.agents == (A, B)
    (need_bytes,) = [share.memory_bytes for share in chosen.prediction.agents if share.agent == B]
    assert 20 << 20 < need_bytes <= 40 << 20


def test_a_device_that_cannot_decode_leaves_that_to_another() -> None:
    usable_bytes = LASTING_BYTES + VERSION_BYTES * 2 + forward_bytes(1)
    facts = replace(WITH_MEMORY, memory=replace(MEMORY, decode_pixel_bytes=3_000))
    assert usable_bytes < LASTING_BYTES + 3_000 * 128 * 128
    request = plan_request([1.0, 0.9], facts=facts, usable_bytes={A: usable_bytes, B: ROOMY}, quality=Quality.HIGH)
    plan = search_plan(request).chosen.plan
    assert (plan.agents, plan.decoder) == ((A, B), B)


@pytest.mark.parametrize("short_by", [0, 1])
def test_an_agent_without_room_for_the_text_encoder_leaves_encoding_to_another(short_by: int) -> None:
    facts = replace(WITH_MEMORY, memory=replace(MEMORY, text_encoder_bytes=10**8))
    usable_bytes = 6_000 + 2 * 500 + 10**8 - short_by
    request = plan_request([1.0, 0.9], facts=facts, usable_bytes={A: usable_bytes, B: ROOMY}, quality=Quality.HIGH)
    plan = search_plan(request).chosen.plan
    assert (plan.agents, plan.encoder) == ((A, B), B if short_by else A)
    told = notices(request, (A, B))
    assert len(told) == short_by
    if short_by:
        assert told[0] == (
            "gpu-0 has no room for the text encoder beside the denoiser: encoding needs 95.4 MiB, "
            "free to it are 95.4 MiB"
        )


@pytest.mark.parametrize(("part", "role"), [(ModelPart.TEXT_ENCODER, "encoder"), (ModelPart.AUTOENCODER, "decoder")])
def test_what_an_agent_could_not_measure_for_want_of_room_is_left_to_another(part: ModelPart, role: str) -> None:
    request = request_for([1.0, 0.9], quality=Quality.HIGH)
    request = replace(request, profiles=(replace(request.profiles[0], no_room=(part,)), request.profiles[1]))
    plan = search_plan(request).chosen.plan
    assert (plan.agents, getattr(plan, role)) == ((A, B), B)
    lonely = replace(request, profiles=request.profiles[:1])
    with pytest.raises(NoAgentsError, match=rf"{role.removesuffix('r').removesuffix('e')}ing takes more than all"):
        search_plan(lonely)


def test_a_picture_that_fits_nowhere_is_refused_with_all_sizes() -> None:
    with pytest.raises(NoAgentsError, match=r"fits on no agents: gpu-0 does not fit: .* MiB; gpu-1 does not fit"):
        search_plan(request_for([1.0, 1.0], 400_000, 300_000))


def test_two_devices_hold_together_what_neither_holds_alone() -> None:
    facts = replace(
        WITH_MEMORY, memory=replace(MEMORY, own_token_bytes=100_000), exchanged=token_groups(8, cell_bytes=8)
    )
    nine_rows = LASTING_BYTES + 2 * 2 * TOKENS * 64 + 2 * (2_000 * TOKENS + 100_000 * 16 * 9)
    request = plan_request([1.0, 1.0], facts=facts, usable_bytes={A: nine_rows, B: nine_rows})
    explanation = search_plan(request)
    assert explanation.chosen.plan.agents == (A, B)
    assert all(len(candidate.plan.agents) == 2 for candidate in explanation.runners_up)


def test_where_no_plan_keeps_the_loss_and_no_device_holds_the_picture_all_wait_for_each_other() -> None:
    measured = PeakMemory(forward_fixed_bytes=0, forward_row_bytes=4_000_000, decode_bytes=5, encode_bytes=9)
    request = request_for([1.0, 1.0])
    request = replace(request, profiles=tuple(replace(profile, memory=measured) for profile in request.profiles))
    half = share_need(request, A, rows=9, exchange=Exchange.DISPLACED, in_gang=True).total_bytes
    request = replace(request, usable_bytes={A: half, B: half})
    assert MemoryFit(request=request).rows(A, exchange=Exchange.SYNCHRONOUS, in_gang=False) < 16
    strict = replace(request.image, overrides=Overrides(loss_db=1e-6, warmup_steps=1))
    facts = replace(request.facts, calibrations=(calibration(),))
    plan = search_plan(replace(request, image=strict, facts=facts)).chosen.plan
    assert plan.agents == (A, B)
    assert {part.exchange for part in plan.segments} == {Exchange.SYNCHRONOUS}
