"""How much memory an agent is planned with after it ran out of it in the middle of a picture."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def shrink(tx: Transaction, picture: Picture, epoch: Epoch) -> tuple[AgentId, ...]:
    """Lowers the memory ceiling of members whose memory ran out, for pictures of this model and size.

    Args:
        tx: the transition.
        picture: that was being made.
        epoch: all of its members are gone.

    Returns:
        These members. Each time they are planned with less, so this ends, at the latest when nothing fits on them any
        more. A new worker starts without a ceiling.
    """
    short = tuple(agent for agent, run in epoch.members.items() if run.ended is not None and run.ended.out_of_memory)
    workload = workload_of(picture.image)
    for name in short:
        agent = tx.state.agents.get(name)
        if agent is None:
            continue
        usable_bytes, need_bytes = agent.usable_bytes_for(workload), epoch.needs_bytes.get(name, 0)
        if need_bytes <= usable_bytes:  # else it was a client's plan, which was not predicted to fit anyway
            ceiling_bytes = lowered(need_bytes, (agent.own_facts(picture.facts) or picture.facts).resident_bytes)
            tx.put_agent(replace(agent, ceilings_bytes={**agent.ceilings_bytes, workload: ceiling_bytes}))
    return short


def lowered(need_bytes: int, weights_bytes: int) -> int:
    """A ceiling that leaves half of the memory that was needed beside the weights."""
    return weights_bytes + max(0, need_bytes - weights_bytes) // 2
