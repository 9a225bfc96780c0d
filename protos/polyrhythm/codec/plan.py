"""Plans, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from polyrhythm.codec.bounds import MEMBERS_MAX, ROWS_MAX, SEGMENTS_MAX, count, label, name
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, trusted
from polyrhythm.job.image import STEPS_MAX, STRIDES
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.v1 import plan_pb2


def _stride(value: int) -> int:
    """Before anything is computed of it: least common multiples have no bound."""
    if value not in STRIDES:
        raise ValueError(f"must be one of {', '.join(map(str, STRIDES))}, got {value}")
    return value


ROWS = Mapped(RowRange, plan_pb2.RowRange, begin=trusted, end=count(ROWS_MAX))
_ASSIGNMENT = Mapped(Assignment, plan_pb2.Assignment, agent=name, rows=ROWS, stride=_stride)
_SEGMENT = Mapped(
    Segment,
    plan_pb2.Segment,
    begin_step=trusted,
    end_step=count(STEPS_MAX),
    beat_steps=count(STEPS_MAX),
    exchange=EnumTable(Exchange, plan_pb2.Exchange),
    assignments=Few(MEMBERS_MAX, _ASSIGNMENT),
)
SEGMENTS = Few(SEGMENTS_MAX, _SEGMENT)
PLAN = Mapped(
    Plan,
    plan_pb2.Plan,
    version=trusted,
    begin_step=trusted,
    steps=count(STEPS_MAX),
    segments=SEGMENTS,
    encoder=label,
    decoder=label,
)
