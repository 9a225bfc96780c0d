"""What the core believes of an agent's memory after it ran out in the middle of a picture."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def shrink(tx: Transaction, picture: Picture, epoch: Epoch) -> tuple[AgentId, ...]:
    """Lowers what is believed of the members whose memory ran out, for pictures of this model and size.

    Args:
        tx: the transition.
        picture: that was being made.
        epoch: all of its members are gone.

    Returns:
        These members. What was planned for them again is less each time, so that it ends, at the latest when nothing
        fits on them any more. A worker that is replaced is believed anew.
    """
    short = tuple(agent for agent, run in epoch.members.items() if run.ended is not None and run.ended.out_of_memory)
    workload = workload_of(picture.image)
    for name in short:
        agent = tx.state.agents.get(name)
        if agent is None:
            continue
        usable_bytes, need_bytes = agent.usable_bytes_for(workload), epoch.needs_bytes.get(name, 0)
        if need_bytes <= usable_bytes:  # else the plan was a client's, and nobody believed that it fits
            ceiling_bytes = lowered(need_bytes, (agent.own_facts(picture.facts) or picture.facts).resident_bytes)
            tx.put_agent(replace(agent, ceilings_bytes={**agent.ceilings_bytes, workload: ceiling_bytes}))
    return short


def lowered(need_bytes: int, weights_bytes: int) -> int:
    """Half of what was needed beside the weights, which the worker holds in any case."""
    return weights_bytes + max(0, need_bytes - weights_bytes) // 2
