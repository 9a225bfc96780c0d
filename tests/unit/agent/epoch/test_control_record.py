"""What members say to each other at a boundary comes back as it was said, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm_agent.epoch.control_record import ControlRecord
from polyrhythm_agent.ports.step_judge import StepVerdict

records = st.builds(
    ControlRecord,
    boundary_step=st.integers(0, 1000),
    newest_version=st.integers(0, 2**31),
    cancelled=st.booleans(),
    verdict=st.sampled_from(StepVerdict),
)


@given(records)
def test_a_record_comes_back_as_it_was(record: ControlRecord) -> None:
    numbers = record.to_int64()
    assert all(type(number) is int for number in numbers)
    assert ControlRecord.from_int64(numbers) == record


@pytest.mark.parametrize("numbers", [(), (4, 1, 0), (4, 1, 0, 0, 0), (4, 1, 0, 7)])
def test_other_numbers_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"control record is 4 numbers|7 is not a valid StepVerdict"):
        ControlRecord.from_int64(numbers)
