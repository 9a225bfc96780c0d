"""What a search is given: measured profiles and links of the candidates, and the memory that each may use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceKind
from polyrhythm.plan.profile import Link, Profile
from polyrhythm_coordinator.scheduling.fleet.host_company import agents_at_work, is_in_company
from polyrhythm_coordinator.scheduling.fleet.profiles import profile_key_of
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.state import State


def profile_of(state: State, picture: Picture, name: AgentId) -> Profile:
    """What is known of an agent's speeds, whoever works beside it.

    Raises:
        KeyError: nothing.
    """
    agent = state.agents[name]
    return state.profiles[profile_key_of(agent, picture)].for_agent(name, agent.device.kernel)


def profiles_of(
    state: State, picture: Picture, names: Sequence[AgentId], *, beside: frozenset[AgentId] = frozenset()
) -> tuple[Profile, ...]:
    """What is known of the speeds of agents that may take part in one plan, beside whoever works on other pictures.

    Args:
        state: the present.
        picture: that is planned.
        names: of these agents, in rank order; what they do now is over when the plan begins.
        beside: others that begin other pictures at the same time.

    Raises:
        KeyError: nothing is known of one of them.
    """
    working = agents_at_work(state, but=picture) | promised_agents(state, but=picture) | beside
    working = working.difference(names)
    return tuple(
        replace(profile_of(state, picture, name), in_company=is_in_company(state, name, working)) for name in names
    )


def plan_request(state: State, picture: Picture, profiles: tuple[Profile, ...], begin_step: int) -> PlanRequest:
    """What a search is given.

    Args:
        state: links, memory and kinds of devices are taken from it.
        picture: that is planned.
        profiles: of the candidates, in rank order.
        begin_step: where the plan is to begin.
    """
    agents = tuple(profile.agent for profile in profiles)
    own_facts = {name: state.agents[name].own_facts(picture.facts) or picture.facts for name in agents}
    mixed = any(own.dtype != picture.facts.dtype for own in own_facts.values())
    return PlanRequest(
        image=picture.image,
        facts=picture.facts,
        own_facts=own_facts if mixed else {},
        profiles=profiles,
        links=_links(state, agents),
        usable_bytes={
            profile.agent: state.agents[profile.agent].usable_bytes_for(workload_of(picture.image))
            for profile in profiles
        },
        begin_step=begin_step,
        version=picture.last_version + 1,
        on_cpu=frozenset(name for name in agents if state.agents[name].device.kind is DeviceKind.CPU),
    )


def _links(state: State, agents: tuple[AgentId, ...]) -> dict[tuple[AgentId, AgentId], Link]:
    uuids = {name: state.agents[name].device.uuid for name in agents}
    return {
        (one, other): state.links[uuids[one], uuids[other]]
        for one in agents
        for other in agents
        if one != other and (uuids[one], uuids[other]) in state.links
    }
