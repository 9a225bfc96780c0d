"""What a plan makes a device hold at most, and how many rows fit on it. Pure: counts bytes, chooses nothing.

A device holds, all the time: the denoiser's weights, the condition (embeddings, and what every layer keeps of them)
and latents. On top of these it holds, at different times:

* while it encodes: the text encoders, and the working memory of that. They are let go before the first step where
  their room is needed.
* while it denoises: the working memory of a forward over its rows, and **exchanged activations**. In a synchronous
  step that is one version of the whole picture: what the others send, and the own part until it is delivered. In a
  displaced step it is two: the version that is read, and the one that comes in for the next step (docs/architecture.md,
  "Which version a step reads"; with strides that divide each other never more, and where rows move the older version
  is simply cut elsewhere). A test compares this with the schedule by which the agents really exchange.
* while it decodes: the autoencoder and the working memory of that. Where previews are asked for, the decoder holds the
  autoencoder all the time, and decodes beside the activations.

Working memory is what the device measured for this size, where it can tell, and otherwise a formula on the model's
widths (``polyrhythm.model.facts.ModelMemory``).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.plan_request import STATE_TENSORS, PlanRequest

LATENTS_HELD = 8
"""x and the last x0 of the whole picture: at work, in the two boundaries that are kept, and in the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What one agent holds at most.

    Attributes:
        weights_bytes: of what it holds all the time: the denoiser.
        text_encoder_bytes: weights held while it encodes; 0 where it does not.
        encode_bytes: working memory of encoding.
        autoencoder_bytes: weights held while it decodes; 0 where it does not.
        condition_bytes: of the prompt.
        state_bytes: of latents.
        exchange_bytes: of exchanged activations, when most is held while denoising.
        forward_bytes: working memory of a forward, at that time.
        decode_bytes: working memory of decoding; 0 where it does not decode.
        previews: whether it decodes while activations are held.
    """

    weights_bytes: int
    text_encoder_bytes: int
    encode_bytes: int
    autoencoder_bytes: int
    condition_bytes: int
    state_bytes: int
    exchange_bytes: int
    forward_bytes: int
    decode_bytes: int
    previews: bool

    @property
    def lasting_bytes(self) -> int:
        """Held all the time."""
        return self.weights_bytes + self.condition_bytes + self.state_bytes

    @property
    def encoding_bytes(self) -> int:
        """At the worst moment of encoding, before there are latents."""
        return self.weights_bytes + self.condition_bytes + self.text_encoder_bytes + self.encode_bytes

    @property
    def denoising_bytes(self) -> int:
        """At the worst moment of denoising."""
        beside_bytes = self.autoencoder_bytes if self.previews else 0
        return self.lasting_bytes + beside_bytes + self.exchange_bytes + self.forward_bytes

    @property
    def decoding_bytes(self) -> int:
        """At the worst moment of decoding."""
        beside_bytes = self.exchange_bytes if self.previews else 0
        return self.lasting_bytes + self.autoencoder_bytes + self.decode_bytes + beside_bytes

    @property
    def total_bytes(self) -> int:
        """At the worst moment of all."""
        return max(self.encoding_bytes, self.denoising_bytes, self.decoding_bytes if self.decode_bytes else 0)


def memory_need(plan: Plan, agent: AgentId, request: PlanRequest) -> MemoryNeed:
    """What a plan makes one of its members hold at most.

    Raises:
        KeyError: it is no member, or no candidate.
    """
    in_gang, request = len(plan.agents) > 1, request.among(plan.agents)
    roles = roles_in(plan, agent)
    shares = {(segment.exchange, segment.of(agent).rows.count) for segment in plan.segments}
    needs = (
        share_need(request, agent, rows=rows, exchange=exchange, in_gang=in_gang, roles=roles)
        for exchange, rows in shares
    )
    return max(needs, key=lambda need: need.total_bytes)


def roles_in(plan: Plan, agent: AgentId) -> frozenset[ModelPart]:
    """Parts of the model that a plan makes a member use beside the denoiser; embeddings outlast the first epoch."""
    encodes, decodes = plan.encoder == agent and plan.begin_step == 0, plan.decoder == agent
    used = ((ModelPart.TEXT_ENCODER, encodes), (ModelPart.AUTOENCODER, decodes))
    return frozenset(part for part, is_used in used if is_used)


def share_need(
    request: PlanRequest,
    agent: AgentId,
    *,
    rows: int,
    exchange: Exchange,
    in_gang: bool,
    roles: AbstractSet[ModelPart] = frozenset(),
) -> MemoryNeed:
    """What one agent holds at most with some rows in a segment.

    Args:
        request: the picture and the candidates, with the sizes of what its gang exchanges.
        agent: one of them.
        rows: row units that it holds; without rows it exchanges nothing.
        exchange: of the segment.
        in_gang: whether others take part.
        roles: parts of the model that it uses beside the denoiser: to encode, to decode.
    """
    facts = request.facts_of(agent)
    memory = facts.memory
    encodes, decodes = ModelPart.TEXT_ENCODER in roles, ModelPart.AUTOENCODER in roles
    everything = RowRange(begin=0, end=request.row_count)
    exchanged_bytes = _versions_held(exchange) * _version_bytes(request) if in_gang and rows else 0
    return MemoryNeed(
        weights_bytes=_weights_bytes(request, agent),
        text_encoder_bytes=memory.text_encoder_bytes if memory and encodes else 0,
        encode_bytes=_encode_bytes(request, agent) if encodes else 0,
        autoencoder_bytes=memory.autoencoder_bytes if memory and decodes else 0,
        condition_bytes=memory.condition_bytes * request.batch * request.image.text_windows if memory else 0,
        state_bytes=LATENTS_HELD // STATE_TENSORS * request.boundary_bytes(everything),
        exchange_bytes=exchanged_bytes,
        forward_bytes=_forward_bytes(request, agent, rows),
        decode_bytes=_decode_bytes(request, agent) if decodes else 0,
        previews=request.image.preview_every_steps > 0,
    )


@dataclass(frozen=True, kw_only=True)  # without slots: answers are kept, since many gangs ask for the same ones
class MemoryFit:
    """How much of a picture fits on each candidate. Where a candidate's memory is not known, everything fits.

    What a gang exchanges is as large as the request says: gangs of several dtypes each have their own (``among``).
    """

    request: PlanRequest

    @cached_property
    def _rows(self) -> dict[tuple[AgentId, Exchange, bool], int]:
        return {}

    @cached_property
    def _decodes(self) -> dict[tuple[AgentId, Exchange, bool], bool]:
        return {}

    def rows(self, agent: AgentId, *, exchange: Exchange, in_gang: bool) -> int:
        """Most row units of a segment that fit, what decoding takes left aside."""
        if agent not in self.request.usable_bytes:
            return self.request.row_count
        key = (agent, exchange, in_gang)
        if key not in self._rows:
            self._rows[key] = self._rows_that_fit(agent, exchange, in_gang=in_gang)
        return self._rows[key]

    def can_decode(self, agent: AgentId, *, exchange: Exchange, in_gang: bool) -> bool:
        """Whether the picture can be decoded there, and previews while a segment of this exchange runs."""
        key = (agent, exchange, in_gang)
        if key not in self._decodes:
            self._decodes[key] = self._has_room_to_decode(agent, exchange, in_gang=in_gang)
        return self._decodes[key]

    def _has_room_to_decode(self, agent: AgentId, exchange: Exchange, *, in_gang: bool) -> bool:
        if ModelPart.AUTOENCODER in self.request.profile(agent).no_room:
            return False
        usable_bytes = self.request.usable_bytes.get(agent)
        if usable_bytes is None:
            return True
        decoding = frozenset({ModelPart.AUTOENCODER})
        need = share_need(self.request, agent, rows=1, exchange=exchange, in_gang=in_gang, roles=decoding)
        return need.decoding_bytes <= usable_bytes

    def can_encode(self, agent: AgentId) -> bool:
        """Whether the prompt can be encoded there."""
        if ModelPart.TEXT_ENCODER in self.request.profile(agent).no_room:
            return False
        usable_bytes = self.request.usable_bytes.get(agent)
        return usable_bytes is None or encoding_bytes(self.request, agent) <= usable_bytes

    def _rows_that_fit(self, agent: AgentId, exchange: Exchange, *, in_gang: bool) -> int:
        def free_bytes(rows: int) -> int:
            need = share_need(self.request, agent, rows=rows, exchange=exchange, in_gang=in_gang)
            return self.request.usable_bytes[agent] - need.denoising_bytes

        row_count = self.request.row_count
        if free_bytes(row_count) >= 0:
            return row_count
        if free_bytes(1) < 0:
            return 0
        # Working memory is affine in the rows, and all of them need more than one: the division is exact.
        row_bytes = (free_bytes(1) - free_bytes(row_count)) // (row_count - 1)
        return 1 + free_bytes(1) // row_bytes


def smallest_need(request: PlanRequest, agent: AgentId, *, exchange: Exchange) -> MemoryNeed:
    """The least that an agent could be given: one row in a gang, or the whole picture alone if that takes less."""
    narrowest = request.among(request.agents)
    in_gang = share_need(narrowest, agent, rows=1, exchange=exchange, in_gang=True)
    alone = share_need(
        request,
        agent,
        rows=request.row_count,
        exchange=Exchange.SYNCHRONOUS,
        in_gang=False,
        roles=frozenset(ModelPart),
    )
    return min(in_gang, alone, key=lambda need: need.total_bytes)


def encoding_bytes(request: PlanRequest, agent: AgentId) -> int:
    """What encoding the prompt takes on an agent, the denoiser included."""
    encoding = frozenset({ModelPart.TEXT_ENCODER})
    need = share_need(request, agent, rows=0, exchange=Exchange.SYNCHRONOUS, in_gang=True, roles=encoding)
    return need.encoding_bytes


def decoding_bytes(request: PlanRequest, agent: AgentId) -> int:
    """What decoding the picture takes on an agent when nothing is exchanged, the denoiser included."""
    decoding = frozenset({ModelPart.AUTOENCODER})
    need = share_need(request, agent, rows=0, exchange=Exchange.SYNCHRONOUS, in_gang=True, roles=decoding)
    return need.decoding_bytes


def _version_bytes(request: PlanRequest) -> int:
    """Of one version of the whole picture: keys and values of all rows, rims to and from both sides, all moments."""
    everything = RowRange(begin=0, end=request.row_count)
    rims_bytes, moments_bytes = 2 * request.rims_bytes, len(request.agents) * request.moments_bytes
    return request.version_bytes(everything, everything) - request.moments_bytes + rims_bytes + moments_bytes


def _versions_held(exchange: Exchange) -> int:
    match exchange:
        case Exchange.SYNCHRONOUS:
            return 1
        case Exchange.DISPLACED:
            return 2
        case _:
            assert_never(exchange)


def _forward_bytes(request: PlanRequest, agent: AgentId, rows: int) -> int:
    measured, memory = request.profile(agent).memory, request.facts_of(agent).memory
    if not rows:
        return 0
    if measured is not None:
        return measured.forward_bytes(rows)
    if memory is None:
        return 0
    image_tokens = request.tokens(RowRange(begin=0, end=request.row_count))
    own_tokens = rows * request.facts.tokens_per_row(request.image.width_px)
    return request.batch * (memory.image_token_bytes * image_tokens + memory.own_token_bytes * own_tokens)


def _weights_bytes(request: PlanRequest, agent: AgentId) -> int:
    facts = request.facts_of(agent)
    if facts.memory is None:
        return facts.weights_bytes
    return facts.memory.resident_bytes(offloaded=request.profile(agent).offloaded)


def _encode_bytes(request: PlanRequest, agent: AgentId) -> int:
    measured, memory = request.profile(agent).memory, request.facts_of(agent).memory
    if measured is not None and measured.encode_bytes:
        return measured.encode_bytes
    return memory.encode_bytes if memory else 0


def _decode_bytes(request: PlanRequest, agent: AgentId) -> int:
    measured, memory = request.profile(agent).memory, request.facts_of(agent).memory
    if measured is not None and measured.decode_bytes:
        return measured.decode_bytes
    return memory.decode_bytes(request.image.width_px * request.image.height_px) if memory else 0
