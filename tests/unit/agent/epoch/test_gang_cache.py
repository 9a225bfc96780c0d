"""Formed gangs: reused by name, replaced by members, reachable for an abort before anything waits on them."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, GangId
from polyrhythm.plan.profile import Link
from polyrhythm.session.events import PeerLink
from polyrhythm_agent.epoch.gang_cache import GangCache
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork, InProcessTransport
from polyrhythm_agent.ports.transport import Transport

ALONE = (AgentId("a"),)


def test_a_gang_is_formed_once_and_then_reused() -> None:
    formed: list[GangId] = []

    def form(gang: GangId, rank: int, size: int) -> Transport:
        formed.append(gang)
        return InProcessNetwork(size).transport(rank)

    cache = GangCache(agent=ALONE[0], form=form, handling_share=1.0)
    first, _ = cache.enter(GangId("g1"), ALONE, lambda _: None)
    again, links = cache.enter(GangId("g1"), ALONE, lambda _: None)
    assert again is first
    assert links == ()
    assert formed == ["g1"]


def test_a_new_name_for_the_same_members_ends_the_old_gang() -> None:
    """Else a fleet whose members come and go would fill this process with dead sockets."""
    ended: list[GangId] = []

    class Ending(InProcessTransport):
        def __init__(self, gang: GangId, size: int, rank: int) -> None:
            super().__init__(InProcessNetwork(size), rank)
            self._gang = gang

        def abort(self) -> None:
            ended.append(self._gang)

    cache = GangCache(agent=ALONE[0], form=lambda gang, rank, size: Ending(gang, size, rank), handling_share=1.0)
    cache.enter(GangId("g1"), ALONE, lambda _: None)
    cache.enter(GangId("g2"), ALONE, lambda _: None)
    assert ended == ["g1"]


def test_of_the_cpu_time_of_messages_computing_loses_its_share() -> None:
    probed = Link(latency_s=1e-4, bytes_per_s=1e9, handling_s=6e-5, handling_s_per_byte=4e-10)

    class Probed(InProcessTransport):
        def probe_links(self) -> tuple[tuple[int, Link], ...]:
            return ((1, probed),)

    members = (AgentId("a"), AgentId("b"))
    cache = GangCache(
        agent=members[0], form=lambda _, rank, size: Probed(InProcessNetwork(size), rank), handling_share=0.5
    )
    _, links = cache.enter(GangId("g1"), members, lambda _: None)
    assert links == (PeerLink(peer=members[1], link=replace(probed, handling_s=3e-5, handling_s_per_byte=2e-10)),)


def test_the_transport_can_be_aborted_before_it_is_probed() -> None:
    held: list[Transport] = []

    class Probed(InProcessTransport):
        def probe_links(self):  # noqa: ANN202
            assert held == [self]
            return super().probe_links()

    cache = GangCache(
        agent=ALONE[0], form=lambda _, rank, size: Probed(InProcessNetwork(size), rank), handling_share=0.5
    )
    cache.enter(GangId("g1"), ALONE, held.append)
    assert len(held) == 1
