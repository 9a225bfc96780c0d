"""Formed process groups by name: formed once, used by later epochs of the same gang, dropped after a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId, GangId
from polyrhythm.plan.profile import Link
from polyrhythm.session.events import PeerLink
from polyrhythm_agent.ports.transport import Transport

FormTransport = Callable[[GangId, int, int], Transport]
"""``(gang, rank, size)`` to a transport; blocks until all members are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """A formed gang.

    Attributes:
        name: of the gang.
        members: in rank order.
        transport: its messages.
    """

    name: GangId
    members: tuple[AgentId, ...]
    transport: Transport


class GangCache:
    """The gangs of one worker. One thread only.

    Args:
        agent: this one.
        form: makes transports.
        handling_share: share of the CPU time of messages that computing loses; 0 where they share no core.
    """

    def __init__(self, *, agent: AgentId, form: FormTransport, handling_share: float) -> None:
        self._agent = agent
        self._form = form
        self._handling_share = handling_share
        self._gangs: dict[GangId, Gang] = {}

    def enter(
        self, name: GangId, members: tuple[AgentId, ...], hold: Callable[[Transport], None]
    ) -> tuple[Gang, tuple[PeerLink, ...]]:
        """The gang of that name, formed now if it is not held.

        A gang of the same members under another name is over: the coordinator gives a new name only after it has given
        up the old one.

        Args:
            name: of the gang.
            members: in rank order.
            hold: told of the transport before anything waits on it, so that an abort can reach it.

        Returns:
            The gang and, where it was formed just now, the measured links.

        Raises:
            TransportError: a member did not come.
        """
        held = self._gangs.get(name)
        if held is not None:
            hold(held.transport)
            return held, ()
        for old in [gang.name for gang in self._gangs.values() if gang.members == members]:
            self.drop(old)
        transport = self._form(name, members.index(self._agent), len(members))
        self._gangs[name] = Gang(name=name, members=members, transport=transport)
        hold(transport)
        links = tuple(PeerLink(peer=members[rank], link=self._felt(link)) for rank, link in transport.probe_links())
        return self._gangs[name], links

    def _felt(self, link: Link) -> Link:
        share = self._handling_share
        return replace(link, handling_s=link.handling_s * share, handling_s_per_byte=link.handling_s_per_byte * share)

    def drop(self, name: GangId) -> None:
        """Ends a gang; it can never be used again."""
        gang = self._gangs.pop(name, None)
        if gang is not None:
            gang.transport.abort()
