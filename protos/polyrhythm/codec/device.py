"""Devices and software, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from polyrhythm.codec.bounds import BYTES_MAX, SOFTWARE_MAX, count, label, name, within
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, Optional
from polyrhythm.model.facts import DeviceFacts, DeviceKind, SoftwareVersion
from polyrhythm.v1 import device_pb2

SOFTWARE = Few(SOFTWARE_MAX, Mapped(SoftwareVersion, device_pb2.SoftwareVersion, name=label, version=label))
DEVICE = Mapped(
    DeviceFacts,
    device_pb2.Device,
    uuid=name,
    name=label,
    kind=EnumTable(DeviceKind, device_pb2.DeviceKind),
    memory_total_bytes=count(BYTES_MAX),
    memory_free_bytes=count(BYTES_MAX),
    driver=label,
    emulated_speed=Optional(within(0.0, 1.0)),
    memory_limit_bytes=Optional(count(BYTES_MAX)),
    host=label,
    kernel=label,
)
