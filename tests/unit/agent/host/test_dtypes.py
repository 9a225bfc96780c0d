"""The arithmetic of a device that nobody chose one for."""

from __future__ import annotations

import pytest
import torch

from polyrhythm_agent.host.dtypes import ComputeDevice, device_of, dtype_for


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        (None, "float32"),
        ((5, 2), "float32"),
        ((6, 0), "float16"),
        ((6, 1), "float32"),
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_what_suits_a_device(capability: tuple[int, int] | None, dtype: str) -> None:
    assert dtype_for("auto", ComputeDevice(name="a card", capability=capability)) == dtype


def test_what_is_asked_for_is_done() -> None:
    assert dtype_for("float64", ComputeDevice(name="a card", capability=(9, 0))) == "float64"


def test_a_cpu_has_no_capability() -> None:
    assert device_of(torch.device("cpu")).capability is None
