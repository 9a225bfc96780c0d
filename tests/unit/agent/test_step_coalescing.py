"""Step reports are thinned out; nothing else is, and nothing overtakes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from polyrhythm.ids import EpochId
from polyrhythm.messages import AgentEvent, Heartbeat, StepDone, WorkerLost
from polyrhythm_agent.step_coalescing import StepCoalescer

EPOCH = EpochId(incarnation=1, counter=1)
LOST = WorkerLost(reason="r")


def step(number: int) -> StepDone:
    return StepDone(epoch=EPOCH, step=number)


def test_the_first_goes_at_once_the_newest_after_the_interval() -> None:
    coalescer = StepCoalescer(interval_s=0.05)
    assert coalescer.offer(step(1), 10.0) == [step(1)]
    assert coalescer.offer(step(2), 10.01) == []
    assert coalescer.offer(step(3), 10.02) == []
    assert coalescer.due_s == 10.05
    assert coalescer.flush(10.05) == [step(3)]
    assert coalescer.due_s is None
    assert coalescer.flush(11.0) == []


def test_another_event_takes_the_held_report_along() -> None:
    coalescer = StepCoalescer(interval_s=0.05)
    coalescer.offer(step(1), 10.0)
    coalescer.offer(step(2), 10.01)
    assert coalescer.offer(LOST, 10.02) == [step(2), LOST]


def test_a_heartbeat_waits_for_nobody_and_takes_nothing_along() -> None:
    coalescer = StepCoalescer(interval_s=0.05)
    coalescer.offer(step(1), 10.0)
    coalescer.offer(step(2), 10.01)
    assert coalescer.offer(Heartbeat(sequence=1), 10.02) == [Heartbeat(sequence=1)]
    assert coalescer.due_s == 10.05


@given(st.lists(st.tuples(st.booleans(), st.floats(min_value=0.0, max_value=0.2)), max_size=40))
def test_order_is_kept_and_nothing_but_older_steps_is_lost(script: list[tuple[bool, float]]) -> None:
    coalescer = StepCoalescer(interval_s=0.05)
    now_s = 0.0
    offered: list[AgentEvent] = []
    sent: list[AgentEvent] = []
    for number, (is_step, wait_s) in enumerate(script):
        now_s += wait_s
        event = step(number) if is_step else WorkerLost(reason=str(number))
        offered.append(event)
        sent += coalescer.offer(event, now_s)
    sent += coalescer.flush(now_s + 1.0)
    assert sent == [event for event in offered if event in sent]
    assert [e for e in sent if isinstance(e, WorkerLost)] == [e for e in offered if isinstance(e, WorkerLost)]
    assert sent[-1:] == offered[-1:]
