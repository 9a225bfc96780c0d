"""Turns the search's options into what a user is told: labels, runner-up plans, what does not fit, and notices.

Owns words and selection for display. Decides nothing about the chosen plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Objective
from polyrhythm.plan.explanation import Candidate, Exclusion, ExclusionReason, MeasuredLink, Prediction
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_coordinator.scheduling.planning.amounts import mib, mib_apart
from polyrhythm_coordinator.scheduling.planning.calibration_trust import full_rate_for_want_of_numbers, trusted
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, predict
from polyrhythm_coordinator.scheduling.planning.distortion import distortion_of
from polyrhythm_coordinator.scheduling.planning.memory_model import (
    MemoryFit,
    MemoryNeed,
    decoding_bytes,
    encoding_bytes,
    smallest_need,
)
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import RESUME_WARMUP_STEPS, policy_for, policy_of

SOLO_KIND = "solo"

INDIFFERENCE = 0.005
"""Plans within this share of the fastest count as equally fast, and the simplest of them is chosen: no prediction is
as exact, a smaller gang has less that can fail, and full rate gives the better picture."""
LINKS_MAX = 4096
"""Told with a plan: all of 64 agents. They grow with the square of the fleet, and are encoded on the event loop."""
RUNNERS_UP_MAX = 5
"""Other plans shown, one of a kind each."""
EVERY_STEP = "every device makes every step"
FIXED_RULE = "strides follow the rule for models without calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A plan of the search with its predicted seconds from encoding to picture, and what these rest on."""

    plan: Plan
    total_s: float
    cost: GangCost


def label_of(plan: Plan) -> str:
    """What a person calls a plan."""
    merged = ", merged steps" if any(min(segment.strides) > 1 for segment in plan.segments) else ""
    if len(plan.agents) == 1:
        return f"solo {plan.agents[0]}{merged}"
    mixed = [segment.strides for segment in plan.segments if len(set(segment.strides)) > 1]
    if mixed:
        rule = "strides " + " and ".join(str(stride) for stride in sorted({s for strides in mixed for s in strides}))
    elif all(segment.exchange is Exchange.SYNCHRONOUS for segment in plan.segments):
        rule = "synchronous"
    else:
        rule = "rows only"
    return f"{len(plan.agents)} agents, {rule}{merged}"


def candidate_of(option: Option, request: PlanRequest) -> Candidate:
    """An option with its label and full prediction."""
    return Candidate(
        label=label_of(option.plan), plan=option.plan, prediction=predicted(option.plan, request, option.cost)
    )


def predicted(plan: Plan, request: PlanRequest, cost: GangCost | None = None) -> Prediction:
    """What a plan costs, and the quality of its picture where the model is calibrated.

    Raises:
        NotFoundError: the plan names an agent without a profile.
        InvalidArgumentError: the plan is for another picture height or number of steps.
    """
    found, seconds = distortion_of(request), predict(plan, request, cost)
    if found is None:
        return seconds
    expected = found.plan_expected(plan)
    return replace(seconds, psnr_db=expected.mean_db, psnr_low_db=expected.low_db)


def runners_up(options: Sequence[Option], chosen: Option) -> tuple[Option, ...]:
    """The fastest option of each other kind, in order of time; the fastest device alone is always among them."""
    best: dict[str, Option] = {}
    for option in sorted(options, key=lambda option: option.total_s):
        best.setdefault(_kind(option.plan), option)
    best.pop(_kind(chosen.plan))
    others = list(best.values())
    shown = others[:RUNNERS_UP_MAX]
    solo = best.get(SOLO_KIND)
    if solo is not None and solo not in shown:
        shown[-1] = solo
    return tuple(shown)


def misfit(agent: AgentId, request: PlanRequest) -> Exclusion | None:
    """Why no share of the picture fits on an agent, with needed and free bytes; None where one does."""
    usable_bytes = request.usable_bytes.get(agent)
    if usable_bytes is None:
        return None
    displaced = policy_of(request.image.quality).displaced
    need = smallest_need(request, agent, exchange=Exchange.DISPLACED if displaced else Exchange.SYNCHRONOUS)
    if need.total_bytes <= usable_bytes:
        return None
    needed, free = mib_apart(need.total_bytes, usable_bytes)
    message = (
        f"{agent} does not fit: the smallest share of this picture needs {needed} "
        f"(weights {mib(need.weights_bytes)}), free to it are {free}{_other_mode(agent, request, need)}"
    )
    return Exclusion(agent=agent, reason=ExclusionReason.TOO_LITTLE_MEMORY, message=message)


def _other_mode(agent: AgentId, request: PlanRequest, need: MemoryNeed) -> str:
    """What the same share would need with the denoiser's weights held the other way."""
    memory, offloaded = request.facts_of(agent).memory, request.profile(agent).offloaded
    if memory is None or not memory.offloaded_bytes:
        return ""
    other_bytes = need.total_bytes - need.weights_bytes + memory.resident_bytes(offloaded=not offloaded)
    option = "without --offload" if offloaded else "with --offload always"
    return f"; {option} it would need {mib(other_bytes)}"


def shortage(agent: AgentId, request: PlanRequest) -> str | None:
    """What of the whole picture does not fit on an agent, in words and numbers; None where all of it does."""
    excluded = misfit(agent, request)
    if excluded is not None:
        return excluded.message
    fit, rows_all = MemoryFit(request=request), request.row_count
    rows = fit.rows(agent, exchange=Exchange.SYNCHRONOUS, in_gang=False)
    free = f"of {mib(request.usable_bytes.get(agent, 0))} that are free to {agent}"
    if rows < rows_all:
        return f"{rows} of {rows_all} rows take all {free}"
    if not fit.can_decode(agent, exchange=Exchange.SYNCHRONOUS, in_gang=False):
        return f"decoding takes more than all {free}"
    if not request.begin_step and not fit.can_encode(agent):
        return f"encoding takes more than all {free}"
    return None


def measured_links(request: PlanRequest, chosen: Plan) -> tuple[MeasuredLink, ...]:
    """The links that the predictions rest on, in a fixed order; of more than can be told, those of a plan's members."""
    pairs = sorted(request.links)
    if len(pairs) > LINKS_MAX:
        members = set(chosen.agents)
        pairs = [pair for pair in pairs if members.issuperset(pair)][:LINKS_MAX]
    return tuple(
        MeasuredLink(sender=sender, receiver=receiver, link=request.links[sender, receiver])
        for sender, receiver in pairs
    )


def notices(request: PlanRequest, gang: tuple[AgentId, ...], given: Plan | None = None) -> tuple[str, ...]:
    """What a user should know of how the picture is made.

    Of the model; where nothing is known of the picture's quality, or the sampler forbids strides, and steps would else
    be skipped; in which dtypes a gang computes that does not agree on one; whose speed was not measured over the whole
    picture; who has no room for a part of the model.

    Args:
        request: the picture.
        gang: that makes it.
        given: the plan, where it is the client's.
    """
    messages = [*request.facts.notices, *_unskipped(request, gang, given)]
    dtypes = {agent: request.facts_of(agent).dtype for agent in gang}
    if len(set(dtypes.values())) > 1:
        computing = ", ".join(f"{agent} in {dtype}" for agent, dtype in dtypes.items())
        messages.append(
            f"the picture is computed by {computing}; activations travel in {request.among(gang).facts.dtype}"
        )
    return (*messages, *_scaled(request, gang), *_without_room(request))


def _unskipped(request: PlanRequest, gang: tuple[AgentId, ...], given: Plan | None) -> Iterator[str]:
    """Why no step is skipped, or by which rule, where that would else be decided by what it costs."""
    unknown = trusted(request.image, request.facts.calibrations).reason
    if given is not None:
        if unknown and _skips(given):
            yield f"what a skipped step costs is not known: {unknown}"
    elif _might_skip(request, gang):
        if request.image.sampler in request.facts.full_rate_samplers:
            yield f"{request.image.sampler} makes every step on every device, so no plan has strides above 1"
        elif unknown:
            rule = EVERY_STEP if full_rate_for_want_of_numbers(request) else FIXED_RULE
            yield f"what a skipped step costs is not known, and {rule}: {unknown}"


def _might_skip(request: PlanRequest, gang: tuple[AgentId, ...]) -> bool:
    """Whether a plan might skip steps if its sampler can and what that costs is known.

    The quality allows it, on a gang of all or on one device, and enough steps are left.
    """
    image, policy = request.image, policy_for(request.image)
    able = [one for one in request.agents if image.overrides.allows(one) and misfit(one, request) is None]
    in_gang = len(gang) > 1 or (len(able) > 1 and image.objective is not Objective.THROUGHPUT)
    if max(policy.strides) == 1 or not (in_gang or policy.merges_all):
        return False
    # One device alone warms up only where the user says so.
    alone_end = max(request.begin_step, image.overrides.warmup_steps or 0)
    warm_end = max(policy.warmup_steps, request.begin_step + RESUME_WARMUP_STEPS)
    left_steps = image.steps - (image.overrides.tail_steps or 0) - (alone_end if policy.merges_all else warm_end)
    return left_steps >= policy.strides[1]


def _skips(plan: Plan) -> bool:
    return any(share.stride > 1 for segment in plan.segments for share in segment.assignments if share.rows.count)


def _scaled(request: PlanRequest, gang: tuple[AgentId, ...]) -> Iterator[str]:
    """Whose speed rests on forwards over fewer rows than a device makes alone."""
    for profile in (request.profile(agent) for agent in gang if agent in request.agents):
        if 0 < profile.measured_rows < request.row_count:
            yield (
                f"the speed of {profile.agent} is scaled from forwards over up to {profile.measured_rows} of "
                f"{request.row_count} rows, since more would have taken long to measure"
            )


def _without_room(request: PlanRequest) -> Iterator[str]:
    """Who can hold a share of the picture, but not what encodes or decodes it beside the denoiser."""
    fit = MemoryFit(request=request)
    for agent in request.agents:
        if misfit(agent, request) is not None:
            continue
        room = f"free to it are {mib(request.usable_bytes[agent])}" if agent in request.usable_bytes else "measured"
        if not request.begin_step and not fit.can_encode(agent):
            need = mib(encoding_bytes(request, agent))
            yield f"{agent} has no room for the text encoder beside the denoiser: encoding needs {need}, {room}"
        if not fit.can_decode(agent, exchange=Exchange.SYNCHRONOUS, in_gang=False):
            need = mib(decoding_bytes(request, agent))
            yield f"{agent} has no room for the autoencoder beside the denoiser: decoding needs {need}, {room}"


def _kind(plan: Plan) -> str:
    return SOLO_KIND if len(plan.agents) == 1 else label_of(plan)


def same_seconds(one_s: float, other_s: float) -> bool:
    """Whether two predicted times count as one: no prediction is exact enough to tell them apart."""
    return abs(one_s - other_s) <= INDIFFERENCE * max(one_s, other_s)
