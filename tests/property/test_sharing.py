"""How waiting pictures are shared out, against every way to hand them out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.planning.speed_change import GAIN_SHARE
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Choice, Entry, Fleet, Way, choose

AGENTS = (AgentId("a"), AgentId("b"), AgentId("c"))
EXACT = 1e-9
seconds = st.floats(min_value=0.1, max_value=10.0)
agent_sets = st.sets(st.sampled_from(AGENTS), min_size=1)


@st.composite
def entries(draw: st.DrawFn, agents: tuple[AgentId, ...], *, all_fit: bool = False) -> Entry:
    gang = tuple(sorted(draw(st.sets(st.sampled_from(agents), min_size=1))))
    fits = frozenset(agents if all_fit else draw(st.sets(st.sampled_from(agents))))
    return Entry(alone_s={agent: draw(seconds) for agent in agents}, fits=fits, gang_s=draw(seconds), gang=gang)


@st.composite
def waiting_entries(draw: st.DrawFn) -> tuple[tuple[Entry, ...], dict[AgentId, float]]:
    agents = tuple(sorted(draw(agent_sets)))
    busy_s = {agent: draw(seconds) for agent in sorted(draw(st.sets(st.sampled_from(agents))))}
    return tuple(draw(st.lists(entries(agents), min_size=1, max_size=4))), busy_s


@st.composite
def equal_entries(draw: st.DrawFn) -> tuple[Entry, int, dict[AgentId, float]]:
    agents = tuple(sorted(draw(agent_sets)))
    busy_s = {agent: draw(seconds) for agent in sorted(draw(st.sets(st.sampled_from(agents))))}
    return draw(entries(agents, all_fit=True)), draw(st.integers(min_value=1, max_value=5)), busy_s


def finish_s(waiting: tuple[Entry, ...], places: tuple[AgentId, ...], busy_s: dict[AgentId, float]) -> float:
    """When the last picture is done, each made by the device of its place in order of arrival."""
    ready_s = dict(busy_s)
    for entry, agent in zip(waiting, places, strict=True):
        ready_s[agent] = ready_s.get(agent, 0.0) + entry.alone_s[agent]
    return max(ready_s[agent] for agent in places)


@given(waiting=equal_entries())
def test_no_way_to_hand_out_equal_pictures_is_sooner_done(waiting: tuple[Entry, int, dict[AgentId, float]]) -> None:
    entry, count, busy_s = waiting
    pictures = (entry,) * count
    best_s = min(finish_s(pictures, places, busy_s) for places in product(sorted(entry.fits), repeat=count))
    assert choose(pictures, Fleet(busy_s=busy_s), throughput=True).singles_s <= best_s + EXACT


@given(waiting=waiting_entries())
def test_the_chosen_way_is_the_one_that_is_sooner_done(waiting: tuple[tuple[Entry, ...], dict[AgentId, float]]) -> None:
    pictures, busy_s = waiting
    choice = choose(pictures, Fleet(busy_s=busy_s), throughput=False)
    chosen_s = {Way.GANG: choice.gang_s, Way.FREE: choice.free_s, Way.SINGLES: choice.singles_s}[choice.way]
    shared_s = choice.singles_s if pictures[0].fits else inf
    if choice.way is Way.SINGLES:
        assert pictures[0].fits
        assert chosen_s <= min(choice.gang_s, choice.free_s) + EXACT
        assert len(pictures) == 1 or chosen_s <= (1 - GAIN_SHARE) * choice.gang_s + EXACT
    else:
        assert chosen_s <= min(choice.gang_s, choice.free_s) + EXACT
        assert chosen_s * (1 - GAIN_SHARE) <= shared_s + EXACT
    check_starts(choice, pictures, busy_s)


@given(waiting=waiting_entries())
def test_throughput_keeps_pictures_on_single_devices(waiting: tuple[tuple[Entry, ...], dict[AgentId, float]]) -> None:
    pictures, busy_s = waiting
    choice = choose(pictures, Fleet(busy_s=busy_s), throughput=True)
    assert (choice.way is Way.SINGLES) == bool(pictures[0].fits)
    check_starts(choice, pictures, busy_s)


def check_starts(choice: Choice, pictures: tuple[Entry, ...], busy_s: dict[AgentId, float]) -> None:
    """Who begins is free, takes one picture, one that fits, and no busy device would finish that picture sooner."""
    agents = [agent for _, agent in choice.starts]
    assert len(set(agents)) == len(agents)
    for index, agent in choice.starts:
        entry = pictures[index]
        assert agent in entry.fits
        assert busy_s.get(agent, 0.0) == 0.0
        if index == 0:
            others_s = (busy_s.get(other, 0.0) + entry.alone_s[other] for other in entry.fits)
            assert entry.alone_s[agent] <= min(others_s) + EXACT


def test_a_slow_device_takes_a_picture_only_if_waiting_for_the_fast_one_takes_longer() -> None:
    a, b = AGENTS[:2]
    entry = Entry(alone_s={a: 1.0, b: 3.5}, fits=frozenset((a, b)), gang_s=9.0, gang=(a, b))
    assert choose((entry,) * 3, Fleet(), throughput=True).starts == ((0, a),)
    assert choose((entry,) * 4, Fleet(), throughput=True).starts == ((0, a), (3, b))


def test_the_last_picture_is_made_by_a_gang_again() -> None:
    a, b = AGENTS[:2]
    entry = Entry(alone_s={a: 1.0, b: 1.0}, fits=frozenset((a, b)), gang_s=0.6, gang=(a, b))
    assert choose((entry,) * 3, Fleet(), throughput=False).way is Way.GANG  # 1.8 s against 2.0 s
    assert choose((entry,) * 2, Fleet(), throughput=False).way is Way.SINGLES  # 1.0 s against 1.2 s
    assert choose((entry,), Fleet(), throughput=False).way is Way.GANG


def test_the_free_ones_do_not_wait_long_for_a_busy_one() -> None:
    a, b, c = AGENTS
    entry = Entry(alone_s=dict.fromkeys(AGENTS, 3.0), fits=frozenset(AGENTS), gang_s=1.2, gang=AGENTS)
    assert choose((entry,), Fleet(busy_s={a: 0.1}), throughput=False).way is Way.GANG  # 1.3 s against 1.8 s by b and c
    assert choose((entry,), Fleet(busy_s={a: 2.0}), throughput=False).way is Way.FREE
    assert choose((entry,), Fleet(busy_s={a: 2.0, b: 2.0, c: 2.0}), throughput=False).way is Way.GANG


@st.composite
def contended_entries(draw: st.DrawFn) -> tuple[tuple[Entry, ...], Fleet]:
    """Equal pictures on devices that may share hosts, where each is slower beside others than alone."""
    hosts = {agent: draw(st.sampled_from(("one", "two"))) for agent in AGENTS}
    busy_s = {agent: draw(seconds) for agent in sorted(draw(st.sets(st.sampled_from(AGENTS))))}
    alone_s = {agent: draw(seconds) for agent in AGENTS}
    beside_s = {agent: alone_s[agent] * draw(st.floats(min_value=1.0, max_value=4.0)) for agent in AGENTS}
    entry = Entry(alone_s=alone_s, beside_s=beside_s, fits=frozenset(AGENTS), gang_s=9.0, gang=AGENTS)
    count = draw(st.integers(min_value=1, max_value=4))
    return (entry,) * count, Fleet(busy_s=busy_s, hosts=hosts)


def contended_finish_s(waiting: tuple[Entry, ...], places: tuple[AgentId, ...], fleet: Fleet) -> float:
    ready_s = dict(fleet.busy_s)
    for entry, agent in zip(waiting, places, strict=True):
        in_company = any(
            other != agent and fleet.hosts[other] == fleet.hosts[agent] for other in {*places, *fleet.busy_s}
        )
        ready_s[agent] = ready_s.get(agent, 0.0) + (entry.beside_s if in_company else entry.alone_s)[agent]
    return max(ready_s[agent] for agent in places)


@given(waiting=contended_entries())
def test_what_devices_of_one_host_take_is_told_between_the_least_and_all_at_work(
    waiting: tuple[tuple[Entry, ...], Fleet],
) -> None:
    pictures, fleet = waiting
    told_s = choose(pictures, fleet, throughput=True).singles_s
    best_s = min(contended_finish_s(pictures, places, fleet) for places in product(AGENTS, repeat=len(pictures)))
    crowded = tuple(replace(entry, alone_s=entry.beside_s) for entry in pictures)
    all_at_work_s = choose(crowded, fleet, throughput=True).singles_s
    assert best_s - EXACT <= told_s <= all_at_work_s + EXACT


def test_a_neighbour_that_slows_a_device_down_too_much_rests() -> None:
    a, b, c = AGENTS
    hosts = {a: "one", b: "one", c: "two"}
    entry = Entry(
        alone_s={a: 1.0, b: 1.0, c: 2.0},
        beside_s={a: 2.5, b: 2.5, c: 2.0},
        fits=frozenset(AGENTS),
        gang_s=9.0,
        gang=AGENTS,
    )
    choice = choose((entry,) * 3, Fleet(hosts=hosts), throughput=True)
    assert choice.singles_s == 2.0
    assert {agent for _, agent in choice.starts} == {a, c}
    mild = replace(entry, beside_s={a: 1.5, b: 1.5, c: 2.0})
    assert {agent for _, agent in choose((mild,) * 3, Fleet(hosts=hosts), throughput=True).starts} == {a, b, c}
