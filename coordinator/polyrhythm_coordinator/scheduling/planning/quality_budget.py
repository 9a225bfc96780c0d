"""Plans within a quality budget: every gang, every kind of reduced steps, placed where they cost least.

Owns the budget of ``balanced`` and ``fast`` on a calibrated model and the plans that compete under it. The budget is
what plain displaced parallelism would give on the same devices (equal rows on all candidates, at least two, stride 1,
after the warm-up of ``high``), less the policy's loss, in the mean over pictures and in their tenth percentile; for a
resumed picture, the same of the steps that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import lcm

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_coordinator.scheduling.planning.distortion import Distortion
from polyrhythm_coordinator.scheduling.planning.explanation import Option
from polyrhythm_coordinator.scheduling.planning.gang_rows import DoesNotFitError
from polyrhythm_coordinator.scheduling.planning.plan_builder import Cut, GangPlans, beat_steps
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest, SearchEffort
from polyrhythm_coordinator.scheduling.planning.quality_policy import RESUME_WARMUP_STEPS, Policy, policy_of
from polyrhythm_coordinator.scheduling.planning.step_placement import Floor, Kind, Placement, Placements

COMBINATIONS_FEW = 40
BLOCKS_OF_FEW, BLOCKS_OF_MANY = 8, 5
"""Blocks of cells that are searched exhaustively, by how many gangs and strides there are to compare."""
ROUNDING_DB = 1e-9
"""By which the same plan may come out worse, summed up in another order."""
CELLS_MAX = 32
"""Cells of a longer grid are several intervals long."""
REFINED_MAX = 12
"""Placements that are improved cell by cell: the fastest so many."""
QUICK_REFINED_MAX = 2
"""The same in a quick search."""


@dataclass(frozen=True, kw_only=True)  # without slots: what follows from the request is computed once and kept
class Budget:
    """The budget of one request.

    Attributes:
        request: the picture and its candidates.
        distortion: predicts errors.
        policy: warm-up, tail and strides.
    """

    request: PlanRequest
    distortion: Distortion
    policy: Policy

    @property
    def warm_end(self) -> int:
        """Where the steps that may be displaced begin, in a gang."""
        begin, steps = self.request.begin_step, self.request.image.steps
        return min(steps, max(self.policy.warmup_steps, begin + RESUME_WARMUP_STEPS))

    @property
    def _reference_warm_end(self) -> int:
        """Where plain displaced parallelism, which the loss counts from, begins to be displaced."""
        begin, steps = self.request.begin_step, self.request.image.steps
        return min(steps, max(policy_of(Quality.HIGH).warmup_steps, begin + RESUME_WARMUP_STEPS))

    def full_rate_end(self, members: int) -> int:
        """Where displaced or merged steps may begin; one device alone only warms up where the user says so."""
        if members > 1:
            return self.warm_end
        image = self.request.image
        return min(image.steps, max(self.request.begin_step, image.overrides.warmup_steps or 0))

    @cached_property
    def floor(self) -> Floor:
        """How good a plan has to be: in the mean over pictures, and on the touchiest ones as well."""
        reference_Q = self.distortion.displaced_sums(len(self.request.agents), self._reference_warm_end)
        loss_db = self.policy.loss_db or 0.0
        typical_db = float(self.distortion.typical_psnr_X(reference_Q.sum()))
        expected = self.distortion.expected(reference_Q).less(loss_db + ROUNDING_DB)
        return Floor(expected=expected, typical_db=typical_db - loss_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPlan:
    """A placement and what it takes, as far as it is known without building the plan."""

    plans: GangPlans
    placements: Placements
    placement: Placement
    strides: tuple[int, ...]
    seconds: float

    @property
    def shape(self) -> tuple[object, ...]:
        """Placements of one shape are of one kind to a reader: so many agents, such strides."""
        used = {self.placements.kinds[index].strides for index in set(self.placement)}
        mixed = any(len(set(strides)) > 1 for strides in used)
        merged = any(min(strides) > 1 for strides in used)
        return len(self.plans.cost.agents), mixed, merged


StrideChoices = Callable[[GangPlans], Iterable[tuple[int, ...]]]
"""Which strides of a gang are compared."""


def budgeted_options(budget: Budget, gangs: Iterable[GangPlans], stride_choices: StrideChoices) -> list[Option]:
    """The best plans within the budget: of each shape, and of each agent that could take part.

    Args:
        budget: of the request.
        gangs: to compare.
        stride_choices: of each.
    """
    combinations = [(plans, strides) for plans in gangs for strides in stride_choices(plans)]
    full = budget.request.effort is SearchEffort.FULL
    few = len(combinations) <= COMBINATIONS_FEW and full
    blocks_max = BLOCKS_OF_FEW if few else BLOCKS_OF_MANY
    found = [
        option for plans, strides in combinations if (option := _placed(budget, plans, strides, blocks_max)) is not None
    ]
    found.sort(key=lambda option: option.seconds)
    refined = [_refined(budget, option) for option in found[: REFINED_MAX if full else QUICK_REFINED_MAX]]
    others: list[PlacedPlan] = []
    if full:
        rows_only = (_rows_only(budget, option) for option in _first_of_each_gang(found))
        others = [*_best_of_each(found), *(option for option in rows_only if option is not None)]
    shown = _distinct([*refined, *others])
    built = [(option.plans.cost, _plan_that_fits(option)) for option in shown]
    return [Option(plan=plan, total_s=cost.total_s(plan), cost=cost) for cost, plan in built if plan is not None]


def _placed(budget: Budget, plans: GangPlans, strides: tuple[int, ...], blocks_max: int) -> PlacedPlan | None:
    """The fastest placement of one gang and its strides beside full rate and merged steps."""
    try:
        kinds = _kinds(budget, plans, strides)
    except DoesNotFitError:
        return None  # misfits are told by ``explanation``
    request, members = budget.request, len(strides)
    full = request.effort is SearchEffort.FULL
    if full and any(not any(kind.counts[index] for kind in kinds) for index in range(members)):
        return None  # without this member it is the same plan for less; a quick search does not compare that plan
    found = [_placed_from(budget, plans, strides, kinds, begin, blocks_max) for begin in _begins(budget, kinds)]
    return min((option for option in found if option is not None), key=lambda option: option.seconds, default=None)


def _begins(budget: Budget, kinds: list[Kind]) -> tuple[int, ...]:
    """Where the first cell may begin.

    A device alone may take the steps that fill no cell before all cells as well as after them: its merged steps may lie
    at even and at odd steps then, and the last steps cost the least or the most.
    """
    members = len(kinds[0].strides)
    begin = budget.full_rate_end(members)
    left = max(0, budget.request.image.steps - budget.policy.tail_steps - begin) % _interval(kinds)
    return (begin, begin + left) if members == 1 and left else (begin,)


def _interval(kinds: list[Kind]) -> int:
    return lcm(*(stride for kind in kinds for stride in kind.strides))


def _placed_from(
    budget: Budget, plans: GangPlans, strides: tuple[int, ...], kinds: list[Kind], begin: int, blocks_max: int
) -> PlacedPlan | None:
    """The fastest placement whose first cell begins at a step."""
    steps, interval = budget.request.image.steps, _interval(kinds)
    end = steps - budget.policy.tail_steps
    cell_steps = interval * max(1, -(-max(0, end - begin) // (interval * CELLS_MAX)))
    cells = max(0, end - begin) // cell_steps
    placements = Placements(
        distortion=budget.distortion,
        kinds=tuple(kinds),
        cell_begins=tuple(begin + cell_steps * index for index in range(cells)),
        cell_steps=cell_steps,
        rest_steps=steps - begin - cells * cell_steps,
        beat_steps=beat_steps(interval, kinds[0].step_s, kinds[0].boundary_s),
        move_s=_move_s(plans, kinds) if plans.resync_after_move else 0.0,
    )
    placement = placements.fastest(budget.floor, blocks_max=blocks_max)
    return None if placement is None else _timed(plans, placements, placement, strides)


def _kinds(budget: Budget, plans: GangPlans, strides: tuple[int, ...]) -> list[Kind]:
    """Full rate, the strides, and merged steps for everybody where the policy has them."""
    members = len(strides)
    plans.rows(Exchange.SYNCHRONOUS, (1,) * members)  # the warm-up has to fit as well
    kinds = [_kind(plans, (1,) * members)]
    if max(strides) > 1:
        reduced = _kind(plans, strides)
        if budget.policy.merges_all or _somebody_takes_all(reduced):
            kinds.append(reduced)
    if budget.policy.merges_all and max(budget.policy.strides) > 1:
        kinds.append(_kind(plans, (2,) * members))
    return kinds


def _somebody_takes_all(kind: Kind) -> bool:
    """Whether a member with rows takes every step; where memory leaves the fastest one none, nobody else may."""
    return any(stride == 1 for stride, count in zip(kind.strides, kind.counts, strict=True) if count)


def _plan_that_fits(option: PlacedPlan) -> Plan | None:
    try:
        return _plan(option)
    except DoesNotFitError:
        return None  # no member can decode


def _move_s(plans: GangPlans, kinds: list[Kind]) -> float:
    """What one synchronous step in place of a displaced one costs, at most."""
    full_rate = (1,) * len(kinds[0].strides)
    return max(
        plans.cost.step_s(kind.counts, full_rate, Exchange.SYNCHRONOUS)
        - plans.cost.step_s(kind.counts, full_rate, Exchange.DISPLACED)
        for kind in kinds
    )


def _timed(plans: GangPlans, placements: Placements, placement: Placement, strides: tuple[int, ...]) -> PlacedPlan:
    request, cost = plans.cost.request, plans.cost
    seconds = placements.seconds(placement)
    full_rate = (1,) * len(strides)
    rows = [rows.count for rows in plans.rows(Exchange.SYNCHRONOUS, full_rate)]
    placed_steps = len(placements.cell_begins) * placements.cell_steps + placements.rest_steps
    warm_steps = request.image.steps - request.begin_step - placed_steps
    seconds += warm_steps * cost.step_s(rows, full_rate, Exchange.SYNCHRONOUS)
    seconds += min(profile.use_s(ModelPart.AUTOENCODER) for profile in cost.profiles)
    seconds += 0.0 if request.begin_step else min(profile.use_s(ModelPart.TEXT_ENCODER) for profile in cost.profiles)
    return PlacedPlan(plans=plans, placements=placements, placement=placement, strides=strides, seconds=seconds)


def _kind(plans: GangPlans, strides: tuple[int, ...]) -> Kind:
    alone = len(strides) == 1
    rows = plans.rows(Exchange.SYNCHRONOUS if alone else Exchange.DISPLACED, strides)
    counts = tuple(held.count for held in rows)
    return Kind(
        strides=strides,
        counts=counts,
        step_s=plans.cost.step_s(counts, strides, Exchange.DISPLACED),
        boundary_s=plans.boundary_s(rows),
        displaced=not alone,
    )


def _refined(budget: Budget, option: PlacedPlan) -> PlacedPlan:
    placement = option.placements.refined(option.placement, budget.floor)
    return _timed(option.plans, option.placements, placement, option.strides)


def _rows_only(budget: Budget, option: PlacedPlan) -> PlacedPlan | None:
    """The same gang without reduced steps, where that keeps the budget."""
    placement = (0,) * len(option.placement)
    if not option.placements.reach_X([placement], budget.floor)[0]:
        return None
    return _timed(option.plans, option.placements, placement, option.strides)


def _first_of_each_gang(found: list[PlacedPlan]) -> list[PlacedPlan]:
    """The fastest gangs, up to as many as are refined."""
    first: dict[tuple[AgentId, ...], PlacedPlan] = {}
    for option in found:
        first.setdefault(option.plans.cost.agents, option)
    return list(first.values())[:REFINED_MAX]


def _best_of_each(found: list[PlacedPlan]) -> list[PlacedPlan]:
    """The fastest of each shape, and of the gangs with each agent."""
    best: dict[object, PlacedPlan] = {}
    for option in found:
        best.setdefault(option.shape, option)
        if len(option.strides) > 1:
            for agent in option.plans.cost.agents:
                best.setdefault(agent, option)
    return list(best.values())


def _distinct(options: list[PlacedPlan]) -> list[PlacedPlan]:
    kept: dict[object, PlacedPlan] = {}
    for option in options:
        used = tuple(option.placements.kinds[index].strides for index in option.placement)
        kept.setdefault((option.plans.cost.agents, used), option)
    return list(kept.values())


def _plan(option: PlacedPlan) -> Plan:
    """The plan of a placement: warm-up, runs of cells of one kind, the rest."""
    plans, placements, request = option.plans, option.placements, option.plans.cost.request
    members = len(option.strides)
    full_rate = (1,) * members
    begin = placements.cell_begins[0] if placements.cell_begins else request.image.steps - placements.rest_steps
    cuts = [_cut(request.begin_step, begin, full_rate, warm=True)] if begin > request.begin_step else []
    for index, first in enumerate(placements.cell_begins):
        strides = placements.kinds[option.placement[index]].strides
        _append(cuts, _cut(first, first + placements.cell_steps, strides))
    if placements.rest_steps:
        end = request.image.steps
        _append(cuts, _cut(end - placements.rest_steps, end, full_rate))
    return plans.compose(cuts)


def _cut(begin: int, end: int, strides: tuple[int, ...], *, warm: bool = False) -> Cut:
    alone = len(strides) == 1 and max(strides) == 1
    exchange = Exchange.SYNCHRONOUS if warm or alone else Exchange.DISPLACED
    return Cut(begin_step=begin, end_step=end, exchange=exchange, strides=strides)


def _append(cuts: list[Cut], cut: Cut) -> None:
    """Adds a cut, as a part of the last one where it goes on in the same way."""
    if cuts and (cuts[-1].exchange, cuts[-1].strides) == (cut.exchange, cut.strides):
        cut = Cut(begin_step=cuts.pop().begin_step, end_step=cut.end_step, exchange=cut.exchange, strides=cut.strides)
    cuts.append(cut)
