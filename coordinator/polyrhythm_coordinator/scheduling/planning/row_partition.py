"""Row partition: how many row units each agent of a gang gets in one segment.

Owns optimality of the integer split. Knows no seconds of its own: the cost model hands it tables. Shape letters:
A agents, R row units of the image (column r of a table is the cost of r + 1 rows, ascending), K a selection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def fastest_rows(
    costs_AR: Seconds, row_count: int, *, reduced: Sequence[bool], reduced_rows_max: int
) -> tuple[int, ...]:
    """Rows that minimise the largest cost of any agent; provably optimal, ties to the agent named first.

    An agent's cost grows with its rows, so under a threshold T it can take as many rows as it has costs of at most T,
    and T is feasible if and only if these numbers add up to the row count. The smallest feasible T is therefore the
    ``row_count``-th smallest of all costs (of the reduced agents together, only the ``reduced_rows_max`` smallest
    count), and the smallest costs up to it are a split that reaches it. An agent whose first row costs more gets none.

    Args:
        costs_AR: seconds.
        row_count: row units to share out, at most R.
        reduced: which agents run at a reduced rate.
        reduced_rows_max: row units that these may hold together.

    Returns:
        Row units of each agent; they add up to ``row_count``.

    Raises:
        ValueError: every agent is reduced, though together they may not hold so many rows.
    """
    agents, columns = costs_AR.shape
    owners_K: NDArray[np.int64] = np.repeat(np.arange(agents, dtype=np.int64), columns)
    costs_K: Seconds = costs_AR.ravel()
    if any(reduced) and reduced_rows_max < row_count:
        is_reduced_K = np.repeat(np.asarray(reduced, dtype=np.bool_), columns)
        if is_reduced_K.all():
            raise ValueError(f"all agents are reduced and may hold only {reduced_rows_max} of {row_count} rows")
        reduced_K = np.flatnonzero(is_reduced_K)
        cheapest_K = reduced_K[np.argsort(costs_K[reduced_K], kind="stable")[:reduced_rows_max]]
        kept_K = np.sort(np.concatenate((np.flatnonzero(~is_reduced_K), cheapest_K)))
        owners_K, costs_K = owners_K[kept_K], costs_K[kept_K]
    taken_K = np.argsort(costs_K, kind="stable")[:row_count]
    return tuple(int(count) for count in np.bincount(owners_K[taken_K], minlength=agents))


def fastest_coupled_rows(alone_AR: Seconds, exposed_AR: Seconds) -> tuple[int, ...]:
    """Rows of the whole image that minimise a synchronous step; provably optimal.

    The step takes the largest of all ``alone`` costs and of the mean of the two largest ``exposed`` costs. Fix the
    agent m with the largest exposed cost and its rows: the others then need the smallest possible largest exposed cost
    W for the rest (``fastest_rows``: the k-th smallest cost for k rows, so one sort serves every m and every number of
    rows), and the step takes ``max(alone_m, (exposed_m + W) / 2)``. All m and all row numbers are tried.

    Args:
        alone_AR: seconds of an agent that nobody holds up.
        exposed_AR: seconds of an agent and of its messages, at least ``alone``.

    Returns:
        Row units of each agent; they add up to R.
    """
    agents, row_count = alone_AR.shape
    if agents == 1:
        return (row_count,)
    best_s, best_agent, best_rows = np.inf, 0, row_count
    # Among the smallest 2 R of all are the smallest R of all but any one agent, which has no more than R.
    order_K = np.argsort(exposed_AR, axis=None)[: 2 * row_count]
    owners_K, sorted_s_K = order_K // row_count, exposed_AR.ravel()[order_K]
    for agent in range(agents):
        others_s_K = sorted_s_K[owners_K != agent]
        # Column r: this agent holds r + 1 rows and the others the R - r - 1 that are left, none in the last column.
        rest_s_R = np.concatenate(([0.0], others_s_K[: row_count - 1]))[::-1]
        step_s_R = np.maximum(alone_AR[agent], (exposed_AR[agent] + rest_s_R) / 2)
        step_s_R[exposed_AR[agent] < rest_s_R] = np.inf
        step_s_R[-1] = alone_AR[agent, -1]
        fastest = int(np.argmin(step_s_R))
        if step_s_R[fastest] < best_s:
            best_s, best_agent, best_rows = float(step_s_R[fastest]), agent, fastest + 1
    others = [index for index in range(agents) if index != best_agent]
    rest = fastest_rows(
        exposed_AR[others], row_count - best_rows, reduced=(False,) * len(others), reduced_rows_max=row_count
    )
    counts = dict(zip(others, rest, strict=True)) | {best_agent: best_rows}
    return tuple(counts[index] for index in range(agents))


def equal_rows(agents: int, row_count: int) -> tuple[int, ...]:
    """Equal patches (DistriFusion): the same rows for everybody, left-over units to the first agents."""
    share, rest = divmod(row_count, agents)
    return tuple(share + (index < rest) for index in range(agents))
