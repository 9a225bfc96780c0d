"""The dictionary through which the members of a gang find one another. One a gang, dropped with it. Pure.

Semantics of ``torch.distributed.Store``: a GET waits until its key exists, ADD counts in decimal. Members only, and no
more from them than forming takes: addresses, and a few counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from polyrhythm.errors import WireError
from polyrhythm.ids import AgentId
from polyrhythm.session.rendezvous import StoreOperation, StoreReply, StoreRequest

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT64_CHARACTERS_MAX = len(str(INT64_MIN))
KEYS_A_MEMBER_MAX = 64
BYTES_A_MEMBER_MAX = 256 << 10
WAITS_A_MEMBER_MAX = 64

Reply: TypeAlias = tuple[AgentId, StoreReply]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredGet:
    """A GET of a key that does not exist yet."""

    agent: AgentId
    request_id: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RendezvousStore:
    """One gang's dictionary.

    Attributes:
        members: who may use it.
        values: what the keys hold.
        waiting: deferred GETs, in order of arrival.
    """

    members: tuple[AgentId, ...]
    values: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    waiting: tuple[DeferredGet, ...] = ()

    def without(self, agent: AgentId) -> RendezvousStore:
        """The same store when an agent no longer waits for anything."""
        return replace(self, waiting=tuple(get for get in self.waiting if get.agent != agent))


def operate(store: RendezvousStore, agent: AgentId, request: StoreRequest) -> tuple[RendezvousStore, tuple[Reply, ...]]:
    """Carries out one operation.

    Returns:
        The store afterwards, and all replies that are due now: those of released GETs after the request's own.

    Raises:
        WireError: by an agent of another gang; ADD to something that is not a number of 64 bits, or beyond one; more
            keys, bytes or waits than forming takes.
    """
    if agent not in store.members:
        raise WireError(f"store_request.gang: {agent} is no member of {request.gang}")
    key = request.key
    held = store.values.get(key)
    match request.operation:
        case StoreOperation.SET:
            return _put(store, key, request.value, _reply(agent, request, b"", found=True))
        case StoreOperation.ADD:
            value = str(_within_64_bits(key, _number(key, held) + request.amount)).encode()
            return _put(store, key, value, _reply(agent, request, value, found=True))
        case StoreOperation.GET:
            if held is not None:
                return store, (_reply(agent, request, held, found=True),)
            if sum(get.agent == agent for get in store.waiting) >= WAITS_A_MEMBER_MAX:
                raise WireError(f"store_request.key: {agent} waits for {WAITS_A_MEMBER_MAX} keys already")
            get = DeferredGet(agent=agent, request_id=request.request_id, key=key)
            return replace(store, waiting=(*store.waiting, get)), ()
        case StoreOperation.CHECK:
            return store, (_reply(agent, request, b"", found=held is not None),)
        case StoreOperation.DELETE:
            values = {other: value for other, value in store.values.items() if other != key}
            return replace(store, values=values), (_reply(agent, request, b"", found=held is not None),)
        case _:
            assert_never(request.operation)


def refuse(agent: AgentId, request: StoreRequest) -> Reply:
    """The answer where the gang is gone: nothing is there and nothing will come."""
    return _reply(agent, request, b"", found=False)


def _put(store: RendezvousStore, key: str, value: bytes, own: Reply) -> tuple[RendezvousStore, tuple[Reply, ...]]:
    released = tuple(
        (get.agent, StoreReply(request_id=get.request_id, value=value, found=True))
        for get in store.waiting
        if get.key == key
    )
    waiting = tuple(get for get in store.waiting if get.key != key)
    values = {**store.values, key: value}
    if len(values) > KEYS_A_MEMBER_MAX * len(store.members):
        raise WireError(f"store_request.key: {len(values)} keys are more than a gang needs to form")
    if sum(map(len, values.values())) > BYTES_A_MEMBER_MAX * len(store.members):
        raise WireError("store_request.value: the gang's dictionary holds more bytes than it needs to form")
    return replace(store, values=values, waiting=waiting), (own, *released)


def _reply(agent: AgentId, request: StoreRequest, value: bytes, *, found: bool) -> Reply:
    return agent, StoreReply(request_id=request.request_id, value=value, found=found)


def _number(key: str, held: bytes | None) -> int:
    if held is None:
        return 0
    if len(held) > INT64_CHARACTERS_MAX:  # neither converted nor repeated: it may be as long as a message
        raise WireError(f"store.key: ADD to {key!r}, which holds {len(held)} bytes, more than a number of 64 bits has")
    try:
        number = int(held)
    except ValueError as error:
        raise WireError(f"store.key: ADD to {key!r}, which holds {held!r}") from error
    return _within_64_bits(key, number)


def _within_64_bits(key: str, number: int) -> int:
    if not INT64_MIN <= number <= INT64_MAX:
        raise WireError(f"store.key: ADD to {key!r} leaves 64 bits: {number}")
    return number
