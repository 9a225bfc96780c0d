from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Beat, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_coordinator.scheduling.planning.message_counts import sent_bytes, versions_sent
from tests.values.plan_requests import plan_request

GPU_0, GPU_1 = AgentId("gpu-0"), AgentId("gpu-1")


def segment(
    begin: int, end: int, exchange: Exchange, counts: tuple[int, int], strides: tuple[int, int] = (1, 1)
) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=4,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=stride)
            for agent, rows, stride in zip((GPU_0, GPU_1), ranges_from_counts(counts), strides, strict=True)
        ),
    )


def beat(*args: object, **kwargs: object) -> Beat:
    return next(segment(*args, **kwargs).beats())  # type: ignore[arg-type]


WARM = beat(0, 4, Exchange.SYNCHRONOUS, (8, 8))
BODY = beat(4, 8, Exchange.DISPLACED, (8, 8), (1, 2))
NEXT_BODY = beat(8, 12, Exchange.DISPLACED, (8, 8), (1, 2))


def test_a_synchronous_step_reads_every_version_at_once() -> None:
    assert versions_sent(WARM, None, GPU_0, GPU_1) == (0, 1, 2, 3)
    assert versions_sent(WARM, BODY, GPU_0, GPU_1) == (0, 1, 2, 3)


def test_a_reader_at_stride_two_skips_every_other_version() -> None:
    assert versions_sent(BODY, NEXT_BODY, GPU_0, GPU_1) == (5, 7)
    assert versions_sent(BODY, NEXT_BODY, GPU_1, GPU_0) == (4, 6)


def test_the_last_version_is_not_sent_before_a_synchronous_beat_or_the_end() -> None:
    assert versions_sent(BODY, None, GPU_0, GPU_1) == (5,)
    assert versions_sent(BODY, None, GPU_1, GPU_0) == (4, 6)
    assert versions_sent(BODY, beat(8, 12, Exchange.SYNCHRONOUS, (8, 8)), GPU_0, GPU_1) == (5,)


def test_the_last_version_is_not_sent_to_the_one_who_takes_over_all_its_rows() -> None:
    merged = beat(8, 12, Exchange.DISPLACED, (16, 0))
    assert versions_sent(BODY, merged, GPU_1, GPU_0) == (4, 6)
    moved = beat(8, 12, Exchange.DISPLACED, (0, 16))
    assert versions_sent(BODY, moved, GPU_1, GPU_0) == (4, 6)
    assert versions_sent(BODY, moved, GPU_0, GPU_1) == (5,)


def test_one_without_rows_reads_and_sends_nothing_until_it_gets_some() -> None:
    drained = beat(0, 4, Exchange.SYNCHRONOUS, (16, 0))
    assert versions_sent(drained, None, GPU_0, GPU_1) == ()
    assert versions_sent(drained, None, GPU_1, GPU_0) == ()
    assert versions_sent(drained, BODY, GPU_0, GPU_1) == (3,)


def test_bytes_count_versions_and_boundaries() -> None:
    request = plan_request([1.0, 0.5], steps=8)
    plan = Plan(version=1, begin_step=0, steps=8, segments=(WARM.segment, BODY.segment), encoder=GPU_0, decoder=GPU_0)
    version_bytes, boundary_bytes = 8 * 16 * 2 * 8 * 256 * 4 * 2, 8 * 16 * 64 * 2
    assert sent_bytes(plan, request) == {
        GPU_0: (4 + 1) * version_bytes + 2 * boundary_bytes,
        GPU_1: (4 + 2) * version_bytes + 2 * boundary_bytes,
    }
