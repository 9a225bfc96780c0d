"""Plans, their predictions and explanations, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from collections.abc import Sequence

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import (
    BYTES_MAX,
    BYTES_PER_S_MAX,
    BYTES_PER_S_MIN,
    MEMBERS_MAX,
    ROWS_MAX,
    SECONDS_PER_BYTE_MAX,
    SEGMENTS_MAX,
    TRAFFIC_BYTES_MAX,
    count,
    few,
    finite,
    label,
    name,
    seconds,
    within,
)
from polyrhythm.codec.fields import EnumTable, FieldError, invariants, part
from polyrhythm.codec.fleet import MODEL_PARTS, model_parts_from_proto
from polyrhythm.ids import AgentId
from polyrhythm.job.image import STEPS_MAX, STRIDES
from polyrhythm.plan.explanation import (
    AgentPrediction,
    Candidate,
    Exclusion,
    ExclusionReason,
    Explanation,
    MeasuredLink,
    Prediction,
)
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.profile import ForwardLine, Link, PeakMemory, Profile, Workload
from polyrhythm.plan.rows import RowRange
from polyrhythm.v1 import plan_pb2

EXCHANGES = EnumTable(
    Exchange,
    {
        Exchange.SYNCHRONOUS: plan_pb2.EXCHANGE_SYNCHRONOUS,
        Exchange.DISPLACED: plan_pb2.EXCHANGE_DISPLACED,
    },
)
EXCLUSION_REASONS = EnumTable(
    ExclusionReason,
    {
        ExclusionReason.TOO_SLOW: plan_pb2.EXCLUSION_REASON_TOO_SLOW,
        ExclusionReason.NOT_READY: plan_pb2.EXCLUSION_REASON_NOT_READY,
        ExclusionReason.WRONG_MODEL: plan_pb2.EXCLUSION_REASON_WRONG_MODEL,
        ExclusionReason.TOO_LITTLE_MEMORY: plan_pb2.EXCLUSION_REASON_TOO_LITTLE_MEMORY,
        ExclusionReason.NOT_NAMED: plan_pb2.EXCLUSION_REASON_NOT_NAMED,
        ExclusionReason.OTHER_ARITHMETIC: plan_pb2.EXCLUSION_REASON_OTHER_ARITHMETIC,
        ExclusionReason.OTHER_PICTURES: plan_pb2.EXCLUSION_REASON_OTHER_PICTURES,
    },
)


def rows_to_proto(rows: RowRange) -> plan_pb2.RowRange:
    """Encodes a range of row units."""
    return plan_pb2.RowRange(begin=rows.begin, end=rows.end)


def rows_from_proto(proto: plan_pb2.RowRange, path: str = "rows") -> RowRange:
    """Decodes a range of row units.

    Raises:
        WireError: the range runs backwards, or beyond any picture.
    """
    begin, end = proto.begin, proto.end
    if not 0 <= begin <= end <= ROWS_MAX:
        raise FieldError(path, f"must satisfy 0 <= begin <= end <= {ROWS_MAX}, got [{begin}, {end})")
    return RowRange(begin=begin, end=end)


def assignment_to_proto(assignment: Assignment) -> plan_pb2.Assignment:
    """Encodes one agent's share of a segment."""
    return plan_pb2.Assignment(agent=assignment.agent, rows=rows_to_proto(assignment.rows), stride=assignment.stride)


def assignment_from_proto(proto: plan_pb2.Assignment, path: str = "assignment") -> Assignment:
    """Decodes one agent's share of a segment.

    Raises:
        WireError: rows are missing or backwards, the stride is none, or the agent has no name.
    """
    if proto.stride not in STRIDES:  # before anything is computed of it: least common multiples have no bound
        raise FieldError(f"{path}.stride", f"must be one of {', '.join(map(str, STRIDES))}, got {proto.stride}")
    rows = rows_from_proto(part(proto, "rows", proto.rows, path), f"{path}.rows")
    return Assignment(agent=AgentId(name(proto.agent, f"{path}.agent")), rows=rows, stride=proto.stride)


def segment_to_proto(segment: Segment) -> plan_pb2.Segment:
    """Encodes a segment."""
    return plan_pb2.Segment(
        begin_step=segment.begin_step,
        end_step=segment.end_step,
        beat_steps=segment.beat_steps,
        exchange=EXCHANGES.to_proto(segment.exchange),
        assignments=[assignment_to_proto(assignment) for assignment in segment.assignments],
    )


def segment_from_proto(proto: plan_pb2.Segment, path: str = "segment") -> Segment:
    """Decodes a segment.

    Raises:
        WireError: a field means nothing, or the segment breaks an invariant.
    """
    exchange = EXCHANGES.from_proto(proto.exchange, f"{path}.exchange")
    assignments = tuple(
        assignment_from_proto(assignment, f"{path}.assignments[{index}]")
        for index, assignment in enumerate(few(proto.assignments, f"{path}.assignments", MEMBERS_MAX))
    )
    with invariants(path):
        return Segment(
            begin_step=proto.begin_step,
            end_step=count(proto.end_step, f"{path}.end_step", STEPS_MAX),
            beat_steps=count(proto.beat_steps, f"{path}.beat_steps", STEPS_MAX),
            exchange=exchange,
            assignments=assignments,
        )


def segments_from_proto(protos: Sequence[plan_pb2.Segment], path: str) -> tuple[Segment, ...]:
    """Decodes consecutive segments of a plan.

    Raises:
        WireError: a field of one means nothing, or there is more than a plan can be made of.
    """
    some = enumerate(few(protos, path, SEGMENTS_MAX))
    return tuple(segment_from_proto(proto, f"{path}[{index}]") for index, proto in some)


def plan_to_proto(plan: Plan) -> plan_pb2.Plan:
    """Encodes a plan."""
    return plan_pb2.Plan(
        version=plan.version,
        begin_step=plan.begin_step,
        steps=plan.steps,
        segments=[segment_to_proto(segment) for segment in plan.segments],
        encoder=plan.encoder,
        decoder=plan.decoder,
    )


def plan_from_proto(proto: plan_pb2.Plan, path: str = "plan") -> Plan:
    """Decodes a plan.

    Raises:
        WireError: a field means nothing, or the plan breaks an invariant.
    """
    segments = segments_from_proto(proto.segments, f"{path}.segments")
    with invariants(path):
        return Plan(
            version=proto.version,
            begin_step=proto.begin_step,
            steps=count(proto.steps, f"{path}.steps", STEPS_MAX),
            segments=segments,
            encoder=AgentId(label(proto.encoder, f"{path}.encoder")),
            decoder=AgentId(label(proto.decoder, f"{path}.decoder")),
        )


def prediction_to_proto(prediction: Prediction) -> plan_pb2.Prediction:
    """Encodes what a plan costs."""
    return plan_pb2.Prediction(
        encode_s=prediction.encode_s,
        denoise_s=prediction.denoise_s,
        decode_s=prediction.decode_s,
        agents=[
            plan_pb2.AgentPrediction(
                agent=share.agent,
                busy_s=share.busy_s,
                wait_s=share.wait_s,
                sent_bytes=share.sent_bytes,
                memory_bytes=share.memory_bytes,
            )
            for share in prediction.agents
        ],
        psnr_db=prediction.psnr_db,
        psnr_low_db=prediction.psnr_low_db,
    )


def prediction_from_proto(proto: plan_pb2.Prediction, path: str = "prediction") -> Prediction:
    """Decodes what a plan costs.

    Raises:
        WireError: a number is not finite, or an agent has no name.
    """
    return Prediction(
        encode_s=finite(proto.encode_s, f"{path}.encode_s"),
        denoise_s=finite(proto.denoise_s, f"{path}.denoise_s"),
        decode_s=finite(proto.decode_s, f"{path}.decode_s"),
        agents=tuple(
            AgentPrediction(
                agent=AgentId(name(share.agent, f"{path}.agents[{index}].agent")),
                busy_s=finite(share.busy_s, f"{path}.agents[{index}].busy_s"),
                wait_s=finite(share.wait_s, f"{path}.agents[{index}].wait_s"),
                sent_bytes=share.sent_bytes,
                memory_bytes=share.memory_bytes,
            )
            for index, share in enumerate(proto.agents)
        ),
        psnr_db=finite(proto.psnr_db, f"{path}.psnr_db") if proto.HasField("psnr_db") else None,
        psnr_low_db=finite(proto.psnr_low_db, f"{path}.psnr_low_db") if proto.HasField("psnr_low_db") else None,
    )


def candidate_to_proto(candidate: Candidate) -> plan_pb2.Candidate:
    """Encodes one plan of the search."""
    return plan_pb2.Candidate(
        label=candidate.label,
        plan=plan_to_proto(candidate.plan),
        prediction=prediction_to_proto(candidate.prediction),
    )


def candidate_from_proto(proto: plan_pb2.Candidate, path: str = "candidate") -> Candidate:
    """Decodes one plan of the search.

    Raises:
        WireError: a part is missing or means nothing.
    """
    return Candidate(
        label=proto.label,
        plan=plan_from_proto(part(proto, "plan", proto.plan, path), f"{path}.plan"),
        prediction=prediction_from_proto(part(proto, "prediction", proto.prediction, path), f"{path}.prediction"),
    )


def peak_memory_to_proto(memory: PeakMemory) -> plan_pb2.PeakMemory:
    """Encodes measured memory."""
    return plan_pb2.PeakMemory(
        forward_fixed_bytes=memory.forward_fixed_bytes,
        forward_row_bytes=memory.forward_row_bytes,
        decode_bytes=memory.decode_bytes,
        encode_bytes=memory.encode_bytes,
    )


def peak_memory_from_proto(proto: plan_pb2.PeakMemory, path: str = "memory") -> PeakMemory:
    """Decodes measured memory.

    Raises:
        WireError: a figure is out of bounds.
    """
    return PeakMemory(
        forward_fixed_bytes=count(proto.forward_fixed_bytes, f"{path}.forward_fixed_bytes", BYTES_MAX),
        forward_row_bytes=count(proto.forward_row_bytes, f"{path}.forward_row_bytes", TRAFFIC_BYTES_MAX),
        decode_bytes=count(proto.decode_bytes, f"{path}.decode_bytes", BYTES_MAX),
        encode_bytes=count(proto.encode_bytes, f"{path}.encode_bytes", BYTES_MAX),
    )


def line_to_proto(line: ForwardLine) -> plan_pb2.ForwardLine:
    """Encodes the seconds of a forward over the rows."""
    return plan_pb2.ForwardLine(fixed_s=line.fixed_s, per_row_s=line.per_row_s)


def line_from_proto(proto: plan_pb2.ForwardLine, path: str = "alone") -> ForwardLine:
    """Decodes the seconds of a forward over the rows.

    Raises:
        WireError: a number is not finite or not positive.
    """
    with invariants(path):
        return ForwardLine(
            fixed_s=finite(proto.fixed_s, f"{path}.fixed_s"), per_row_s=finite(proto.per_row_s, f"{path}.per_row_s")
        )


def profile_to_proto(profile: Profile) -> plan_pb2.Profile:
    """Encodes a measured cost as users see it."""
    return plan_pb2.Profile(
        agent=profile.agent,
        model=profile.workload.model,
        width_px=profile.workload.width_px,
        height_px=profile.workload.height_px,
        batch=profile.workload.batch,
        fixed_s=profile.fixed_s,
        per_row_s=profile.per_row_s,
        encode_s=profile.encode_s,
        decode_s=profile.decode_s,
        samples=profile.samples,
        memory=None if profile.memory is None else peak_memory_to_proto(profile.memory),
        no_room=[MODEL_PARTS.to_proto(part) for part in profile.no_room],
        loading_s=profile.loading_s,
        offloaded=profile.offloaded,
        alone=None if profile.alone is None else line_to_proto(profile.alone),
        jitter=profile.jitter,
        measured_rows=profile.measured_rows,
        host=profile.host,
        in_company=profile.in_company,
    )


def profile_from_proto(proto: plan_pb2.Profile, path: str = "profile") -> Profile:
    """Decodes a measured cost.

    Raises:
        WireError: a name is missing, or a number is not finite or not positive.
    """
    agent = AgentId(name(proto.agent, f"{path}.agent"))
    workload = Workload(
        model=name(proto.model, f"{path}.model"),
        width_px=proto.width_px,
        height_px=proto.height_px,
        batch=proto.batch,
    )
    with invariants(path):
        return Profile(
            agent=agent,
            workload=workload,
            fixed_s=finite(proto.fixed_s, f"{path}.fixed_s"),
            per_row_s=finite(proto.per_row_s, f"{path}.per_row_s"),
            encode_s=finite(proto.encode_s, f"{path}.encode_s"),
            decode_s=finite(proto.decode_s, f"{path}.decode_s"),
            samples=proto.samples,
            memory=peak_memory_from_proto(proto.memory, f"{path}.memory") if proto.HasField("memory") else None,
            no_room=model_parts_from_proto(proto.no_room, f"{path}.no_room"),
            loading_s=finite(proto.loading_s, f"{path}.loading_s"),
            offloaded=proto.offloaded,
            alone=line_from_proto(proto.alone, f"{path}.alone") if proto.HasField("alone") else None,
            jitter=finite(proto.jitter, f"{path}.jitter"),
            measured_rows=proto.measured_rows,
            host=proto.host,
            in_company=proto.in_company,
        )


def link_to_proto(measured: MeasuredLink) -> plan_pb2.Link:
    """Encodes the measured cost of messages between two agents."""
    return plan_pb2.Link(
        sender=measured.sender,
        receiver=measured.receiver,
        latency_s=measured.link.latency_s,
        bytes_per_s=measured.link.bytes_per_s,
        handling_s=measured.link.handling_s,
        handling_s_per_byte=measured.link.handling_s_per_byte,
    )


def link_from_proto(proto: plan_pb2.Link, path: str = "link") -> MeasuredLink:
    """Decodes the measured cost of messages between two agents.

    Raises:
        WireError: an agent has no name, or a figure is out of bounds.
    """
    return MeasuredLink(
        sender=AgentId(name(proto.sender, f"{path}.sender")),
        receiver=AgentId(name(proto.receiver, f"{path}.receiver")),
        link=measured_link(proto, path),
    )


def measured_link(proto: plan_pb2.Link | session_pb2.Link, path: str) -> Link:
    """Decodes what messages cost, between whomever.

    Raises:
        WireError: a figure is out of bounds.
    """
    return Link(
        latency_s=seconds(proto.latency_s, f"{path}.latency_s"),
        bytes_per_s=within(proto.bytes_per_s, f"{path}.bytes_per_s", BYTES_PER_S_MIN, BYTES_PER_S_MAX),
        handling_s=seconds(proto.handling_s, f"{path}.handling_s"),
        handling_s_per_byte=within(proto.handling_s_per_byte, f"{path}.handling_s_per_byte", 0.0, SECONDS_PER_BYTE_MAX),
    )


def explanation_to_proto(explanation: Explanation) -> plan_pb2.Explanation:
    """Encodes why a plan was chosen."""
    return plan_pb2.Explanation(
        chosen=candidate_to_proto(explanation.chosen),
        runners_up=[candidate_to_proto(candidate) for candidate in explanation.runners_up],
        exclusions=[
            plan_pb2.Exclusion(
                agent=exclusion.agent,
                reason=EXCLUSION_REASONS.to_proto(exclusion.reason),
                detail=exclusion.detail,
            )
            for exclusion in explanation.exclusions
        ],
        profiles=[profile_to_proto(profile) for profile in explanation.profiles],
        links=[link_to_proto(measured) for measured in explanation.links],
        notices=explanation.notices,
        sharing=explanation.sharing,
    )


def explanation_from_proto(proto: plan_pb2.Explanation, path: str = "explanation") -> Explanation:
    """Decodes why a plan was chosen.

    Raises:
        WireError: a part is missing or means nothing.
    """
    return Explanation(
        chosen=candidate_from_proto(part(proto, "chosen", proto.chosen, path), f"{path}.chosen"),
        runners_up=tuple(
            candidate_from_proto(candidate, f"{path}.runners_up[{index}]")
            for index, candidate in enumerate(proto.runners_up)
        ),
        exclusions=tuple(
            Exclusion(
                agent=AgentId(name(exclusion.agent, f"{path}.exclusions[{index}].agent")),
                reason=EXCLUSION_REASONS.from_proto(exclusion.reason, f"{path}.exclusions[{index}].reason"),
                detail=exclusion.detail,
            )
            for index, exclusion in enumerate(proto.exclusions)
        ),
        profiles=tuple(
            profile_from_proto(profile, f"{path}.profiles[{index}]") for index, profile in enumerate(proto.profiles)
        ),
        links=tuple(link_from_proto(link, f"{path}.links[{index}]") for index, link in enumerate(proto.links)),
        notices=tuple(proto.notices),
        sharing=proto.sharing,
    )
