"""Rows of a gang's members under strides: the fastest by predicted time, or the same for everybody.

Rows that plans of several gangs share are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.rows import RowRange, ranges_from_counts
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, StepCosts
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit
from polyrhythm_coordinator.scheduling.planning.plan_request import SearchEffort
from polyrhythm_coordinator.scheduling.planning.row_partition import equal_rows, fastest_coupled_rows, fastest_rows

LADDER_FROM = 8
LADDER_STEP = 1.4
"""Group sizes are tried one by one up to the first, then each so many times the one before."""
QUICK_SIZES = 2
"""Of them, from the largest down, in a quick search."""


class DoesNotFitError(ValueError):
    """The members of a gang cannot hold the picture together."""


class RowRule(StrEnum):
    """How a plan's rows are chosen."""

    FASTEST = "fastest"
    """Each segment's rows by predicted time."""
    EQUAL = "equal"
    """The same rows for everybody."""


def ladder(count: int) -> tuple[int, ...]:
    """Sizes of groups to compare, ascending, the largest included: all small ones, then ever wider steps.

    The cost of a plan changes little from one size to the next where there are many, and each costs time to look at.
    """
    sizes: list[int] = []
    size = 1
    while size < count:
        sizes.append(size)
        size = max(size + 1, int(size * LADDER_STEP)) if size >= LADDER_FROM else size + 1
    return (*sizes, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingRows:
    """The best rows of some members of a gang while the others hold none.

    Attributes:
        rows: of each of them.
        step_s: seconds of a fine step; infinite where they cannot hold the picture.
    """

    rows: tuple[int, ...]
    step_s: float


KnownRows = dict[tuple[bool, Exchange, tuple[AgentId, ...], tuple[int, ...]], WorkingRows]
"""By whether they are of a gang at all, how it exchanges, those who work and their strides. Of two gangs that differ in
their slower members, the best rows of the fastest few are the same."""


class GangRows:
    """The rows of one gang under one policy, as its plans need them.

    With rows by predicted time, nobody gets more of them than fit into its memory.

    Args:
        cost: of the gang.
        fit: how many rows fit on each member.
        rule: how rows are chosen.
        reduced_share_max: share of the picture that may be at a reduced rate.
        known: of gangs under the same policy, which exchange in the same dtype; what is found is added.
    """

    def __init__(
        self, *, cost: GangCost, fit: MemoryFit, rule: RowRule, reduced_share_max: float, known: KnownRows
    ) -> None:
        self._cost = cost
        self._fit = fit
        self._rule = rule
        self._reduced_share_max = reduced_share_max
        self._known = known
        self._found: dict[tuple[Exchange, tuple[int, ...]], tuple[RowRange, ...]] = {}
        profiles = dict(zip(cost.agents, cost.profiles, strict=True))
        self._per_row_s = {agent: profile.per_row_s for agent, profile in profiles.items()}
        row_count = cost.request.row_count
        self._by_speed = sorted(cost.agents, key=lambda agent: profiles[agent].forward_s(row_count))

    def of(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[RowRange, ...]:
        """Rows of each member.

        Args:
            exchange: how members see each other's rows.
            strides: a member each.

        Raises:
            DoesNotFitError: the members cannot hold all rows.
        """
        if len(set(strides)) == 1:
            strides = (1,) * len(strides)  # every cost is divided by the common stride, so the best rows are the same
        key = (exchange, strides)
        if key not in self._found:
            self._found[key] = ranges_from_counts(self._row_counts(exchange, strides))
        return self._found[key]

    def _row_counts(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[int, ...]:
        match self._rule:
            case RowRule.EQUAL:
                return equal_rows(len(strides), self._cost.request.row_count)
            case RowRule.FASTEST:
                return self._fastest_counts(exchange, strides)
            case _:
                assert_never(self._rule)

    def _fastest_counts(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[int, ...]:
        """Rows on all members, or on the fastest few where the messages of more cost more than they save."""
        agents, row_count = self._cost.agents, self._cost.request.row_count
        stride_of = dict(zip(agents, strides, strict=True))
        best_s, best_counts = inf, (0,) * len(agents)
        sizes, quick = ladder(len(agents))[::-1], self._cost.request.effort is SearchEffort.QUICK
        for index, size in enumerate(sizes):
            if quick and index >= QUICK_SIZES and best_s < inf:
                break
            fastest = set(self._by_speed[:size])
            rows_per_s = sum(stride_of[agent] / self._per_row_s[agent] for agent in fastest)
            if row_count / rows_per_s >= best_s:
                break  # so few cannot be faster, even without messages and with fractions of rows
            working = tuple(agent for agent in agents if agent in fastest)
            found = self._working_rows(working, exchange, tuple(stride_of[agent] for agent in working))
            if found.step_s < best_s:
                held = dict(zip(working, found.rows, strict=True))
                best_s, best_counts = found.step_s, tuple(held.get(agent, 0) for agent in agents)
        if not any(best_counts):  # no room, or no time that has a number
            raise DoesNotFitError(f"{', '.join(agents)} cannot hold {row_count} rows among them")
        return best_counts

    def _working_rows(self, working: tuple[AgentId, ...], exchange: Exchange, strides: tuple[int, ...]) -> WorkingRows:
        """Optimal rows of some members when the others hold none."""
        key = (len(self._cost.agents) > 1, exchange, working, strides)
        if key not in self._known:
            cost = self._cost.restricted(working)
            rows_max = [self._rows_max(agent, exchange) for agent in working]
            rows = self._optimal_counts(cost.step_costs(strides).capped(rows_max), exchange, strides)
            fits = all(count <= most for count, most in zip(rows, rows_max, strict=True))
            step_s = cost.step_s(rows, strides, exchange) if fits else inf
            self._known[key] = WorkingRows(rows=rows, step_s=step_s)
        return self._known[key]

    def _optimal_counts(self, costs: StepCosts, exchange: Exchange, strides: tuple[int, ...]) -> tuple[int, ...]:
        row_count = self._cost.request.row_count
        match exchange:
            case Exchange.SYNCHRONOUS:
                return fastest_coupled_rows(costs.alone_s_AR, costs.exposed_s_AR)
            case Exchange.DISPLACED:
                return fastest_rows(
                    costs.displaced_s_AR,
                    row_count,
                    reduced=tuple(stride > 1 for stride in strides),
                    reduced_rows_max=int(self._reduced_share_max * row_count),
                )
            case _:
                assert_never(exchange)

    def _rows_max(self, agent: AgentId, exchange: Exchange) -> int:
        return self._fit.rows(agent, exchange=exchange, in_gang=len(self._cost.agents) > 1)
