"""The dictionary of a gang."""

from __future__ import annotations

import pytest

from polyrhythm.errors import WireError
from polyrhythm.ids import AgentId, GangId
from polyrhythm.session.rendezvous import StoreOperation, StoreReply, StoreRequest
from polyrhythm_coordinator.scheduling.state.rendezvous_store import RendezvousStore, operate
from tests.worlds.fleet_world import World

A, B = AgentId("a"), AgentId("b")
GANG = GangId("gang")
EMPTY = RendezvousStore(members=(A, B))


def request(
    operation: StoreOperation, key: str, *, number: int = 1, value: bytes = b"", amount: int = 0, gang: GangId = GANG
) -> StoreRequest:
    return StoreRequest(gang=gang, request_id=number, operation=operation, key=key, value=value, amount=amount)


def reply(number: int, value: bytes = b"", *, found: bool = True) -> StoreReply:
    return StoreReply(request_id=number, value=value, found=found)


def test_a_get_waits_for_its_key() -> None:
    store, replies = operate(EMPTY, A, request(StoreOperation.GET, "k", number=4))
    assert replies == ()
    store, replies = operate(store, B, request(StoreOperation.SET, "k", number=9, value=b"v"))
    assert replies == ((B, reply(9)), (A, reply(4, b"v")))
    assert store.waiting == ()
    _, replies = operate(store, A, request(StoreOperation.GET, "k", number=5))
    assert replies == ((A, reply(5, b"v")),)


def test_add_counts_in_decimal_and_releases_gets() -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.GET, "n", number=1))
    store, replies = operate(store, A, request(StoreOperation.ADD, "n", number=2, amount=3))
    assert replies == ((A, reply(2, b"3")), (A, reply(1, b"3")))
    _, replies = operate(store, B, request(StoreOperation.ADD, "n", number=1, amount=-5))
    assert replies == ((B, reply(1, b"-2")),)


def test_check_and_delete_say_whether_there_was_something() -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.SET, "k", value=b"v"))
    for operation, found in (
        (StoreOperation.CHECK, True),
        (StoreOperation.DELETE, True),
        (StoreOperation.CHECK, False),
        (StoreOperation.DELETE, False),
    ):
        store, replies = operate(store, A, request(operation, "k"))
        assert replies == ((A, reply(1, found=found)),)


def test_add_to_something_else_is_refused() -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.SET, "k", value=b"v"))
    with pytest.raises(WireError, match="holds b'v'"):
        operate(store, A, request(StoreOperation.ADD, "k", amount=1))


INT64_MAX = 2**63 - 1


@pytest.mark.parametrize("held", [b"9" * 4300, b"%d" % (INT64_MAX + 1), b"%d" % -(2**63 + 1)])
def test_add_to_more_than_64_bits_is_refused(held: bytes) -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.SET, "k", value=held))
    with pytest.raises(WireError) as caught:
        operate(store, A, request(StoreOperation.ADD, "k", amount=1))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("held", "amount"), [(INT64_MAX, 1), (-(2**63), -1)])
def test_a_sum_beyond_64_bits_is_refused(held: int, amount: int) -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.ADD, "n", amount=held))
    _, replies = operate(store, A, request(StoreOperation.ADD, "n", amount=0))
    assert replies == ((A, reply(1, b"%d" % held)),)
    with pytest.raises(WireError, match="64 bits"):
        operate(store, A, request(StoreOperation.ADD, "n", amount=amount))


def test_a_number_too_long_costs_its_agent_the_stream_and_nobody_else() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    world.submit()
    world.settle()
    gang = world.state.gangs[A, B]
    world.say("a", request(StoreOperation.SET, "k", value=b"9" * 4300, gang=gang))
    world.say("a", request(StoreOperation.ADD, "k", number=2, amount=1, gang=gang))
    assert set(world.state.agents) == {"b"}


def test_a_lost_member_is_answered_no_more() -> None:
    store, _ = operate(EMPTY, A, request(StoreOperation.GET, "k"))
    _, replies = operate(store.without(A), B, request(StoreOperation.SET, "k"))
    assert replies == ((B, reply(1)),)


def test_an_agent_writes_only_to_the_dictionary_of_its_own_gang() -> None:
    for operation in StoreOperation:
        with pytest.raises(WireError, match="c is no member of gang"):
            operate(EMPTY, AgentId("c"), request(operation, "k"))


@pytest.mark.parametrize(
    ("operation", "keys", "value", "wrong"),
    [
        (StoreOperation.SET, 129, b"", "129 keys are more"),
        (StoreOperation.SET, 9, bytes(64 << 10), "more bytes"),
        (StoreOperation.GET, 65, b"", "a waits for 64 keys"),
    ],
)
def test_a_dictionary_holds_no_more_than_a_gang_needs_to_form(
    operation: StoreOperation, keys: int, value: bytes, wrong: str
) -> None:
    store = EMPTY
    *allowed, last = (request(operation, f"k{number}", number=number, value=value) for number in range(keys))
    for each in allowed:
        store, _ = operate(store, A, each)
    with pytest.raises(WireError, match=wrong):
        operate(store, A, last)


def test_a_gang_has_its_dictionary_until_it_is_dropped() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    world.submit()
    world.settle()
    gang = world.state.gangs[A, B]
    world.say("a", request(StoreOperation.GET, "k", gang=gang))
    world.say("b", request(StoreOperation.SET, "k", number=2, value=b"v", gang=gang))
    assert world.sent("a", StoreReply) == [reply(1, b"v")]
    world.kill_worker("b")
    world.settle()
    assert gang not in world.state.stores
    world.say("a", request(StoreOperation.GET, "k", number=3, gang=gang))
    assert world.sent("a", StoreReply)[-1] == reply(3, found=False)
