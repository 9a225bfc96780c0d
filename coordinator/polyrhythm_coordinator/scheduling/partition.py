"""Row partition: how many row units each agent of a gang gets in one segment.

Owns optimality of the integer split. Knows no seconds of its own: the cost model hands it a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fastest_rows(costs_AR: NDArray[np.float64], *, reduced: Sequence[bool], reduced_rows_max: int) -> tuple[int, ...]:
    """Rows that minimise the largest cost of any agent; provably optimal, ties to the agent named first.

    An agent's cost grows with its rows, so under a threshold T it can take as many rows as it has costs of at most T,
    and T is feasible if and only if these numbers add up to the image. The smallest feasible T is therefore the R-th
    smallest of all costs (counting for the reduced agents together only their ``reduced_rows_max`` smallest), and the
    R smallest costs are a split that reaches it. An agent whose first row costs more gets none.

    Args:
        costs_AR: seconds, ``(agents, row units of the image)``; column r is the cost of r + 1 rows, ascending.
        reduced: which agents run at a reduced rate.
        reduced_rows_max: row units that these may hold together.

    Returns:
        Row units of each agent; they add up to the image.

    Raises:
        ValueError: every agent is reduced, though together they may not hold the whole image.
    """
    agents, row_count = costs_AR.shape
    owners_K: NDArray[np.int64] = np.repeat(np.arange(agents, dtype=np.int64), row_count)
    costs_K: NDArray[np.float64] = costs_AR.ravel()
    if any(reduced) and reduced_rows_max < row_count:
        is_reduced_K = np.repeat(np.asarray(reduced, dtype=np.bool_), row_count)
        if is_reduced_K.all():
            raise ValueError(f"all agents are reduced and may hold only {reduced_rows_max} of {row_count} rows")
        reduced_K = np.flatnonzero(is_reduced_K)
        cheapest_K = reduced_K[np.argsort(costs_K[reduced_K], kind="stable")[:reduced_rows_max]]
        kept_K = np.sort(np.concatenate((np.flatnonzero(~is_reduced_K), cheapest_K)))
        owners_K, costs_K = owners_K[kept_K], costs_K[kept_K]
    taken_R = np.argsort(costs_K, kind="stable")[:row_count]
    return tuple(int(count) for count in np.bincount(owners_K[taken_R], minlength=agents))


def equal_rows(agents: int, row_count: int) -> tuple[int, ...]:
    """Equal patches (DistriFusion): the same rows for everybody, left-over units to the first agents."""
    share, rest = divmod(row_count, agents)
    return tuple(share + (index < rest) for index in range(agents))
