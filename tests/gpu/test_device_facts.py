"""NVML itself."""

from __future__ import annotations

import pytest

from polyrhythm.model.facts import DeviceKind
from polyrhythm_agent.errors import DeviceError
from polyrhythm_agent.host.device import PynvmlNvml


def test_the_driver_reports_its_devices() -> None:
    try:
        devices = PynvmlNvml().cuda_devices()
    except DeviceError as error:
        pytest.skip(str(error))
    assert devices
    for device in devices:
        assert device.kind is DeviceKind.CUDA
        assert device.uuid.startswith("GPU-")
        assert 0 < device.memory_free_bytes <= device.memory_total_bytes
        assert device.driver
