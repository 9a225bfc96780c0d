"""Random fleets, described. The same seed gives the same fleet."""

from __future__ import annotations

import random
from enum import StrEnum

from polyrhythm.ids import AgentId
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Link, Workload
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription

WIDTH_PX = HEIGHT_PX = 2048
"""128 row units, so that 64 agents can have two each."""
WHOLE_FORWARD_S = 0.8
"""Of a device of speed 1; the fixed share of it is drawn with the device."""
SPEEDS = (0.25, 1.0)
FIXED_SHARES = (0.04, 0.12)

FACTS = ModelFacts(
    name="described",
    family="pixart",
    fingerprint="described",
    dtype="bfloat16",
    samplers=(Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM),
    default_width_px=WIDTH_PX,
    default_height_px=HEIGHT_PX,
    default_steps=50,
    default_guidance=4.5,
    pixel_multiple=16,
    row_unit_px=16,
    pixels_max=1 << 24,
    token_limit=120,
    exchanged=(LayerGroup(kind=LayerKind.TOKENS, layers=28, cell_px=16, cell_bytes=2 * 1152 * 2),),
    token_px=16,
    latent_bytes_per_token=64,
    weights_bytes=1_200_000_000,
)
"""PixArt-alpha XL/2 in bf16, by its published shape: 28 layers of width 1152, 16 px a token."""


class Interconnect(StrEnum):
    """Closed set of how the devices are joined."""

    FREE = "free"
    """Messages cost nothing: what rows and strides alone give."""
    SWITCH = "switch"
    """200 to 400 GB/s and 5 to 10 us between any two: cards on one switch."""
    BUS = "bus"
    """10 to 25 GB/s and 20 to 50 us: cards on PCIe, through the host."""


RATES = {
    Interconnect.FREE: ((0.0, 0.0), (1e18, 1e18)),
    Interconnect.SWITCH: ((5e-6, 10e-6), (200e9, 400e9)),
    Interconnect.BUS: ((20e-6, 50e-6), (10e9, 25e9)),
}
"""``(latency_s, bytes_per_s)``, each uniform between two ends."""


def draw_fleet(interconnect: Interconnect, size: int, *, seed: str) -> FleetDescription:
    """One random fleet: speeds uniform in ``SPEEDS``, the first device at speed 1, so that latencies compare."""
    source = random.Random(seed)
    devices = tuple(_device(index, 1.0 if index == 0 else source.uniform(*SPEEDS), source) for index in range(size))
    latency_s, bytes_per_s = RATES[interconnect]
    names = [device.agent for device in devices]
    links = {
        (one, other): Link(latency_s=source.uniform(*latency_s), bytes_per_s=source.uniform(*bytes_per_s))
        for one in names
        for other in names
        if one != other
    }
    return FleetDescription(
        facts=FACTS,
        workload=Workload(model=FACTS.name, width_px=WIDTH_PX, height_px=HEIGHT_PX, batch=2),
        devices=devices,
        default_link=Link(latency_s=latency_s[1], bytes_per_s=bytes_per_s[0]),
        links=links,
    )


def _device(index: int, speed: float, source: random.Random) -> DeviceDescription:
    whole_s, fixed_share = WHOLE_FORWARD_S / speed, source.uniform(*FIXED_SHARES)
    rows = FACTS.row_count(HEIGHT_PX)
    return DeviceDescription(
        agent=AgentId(f"gpu-{index:02d}"),
        fixed_s=whole_s * fixed_share,
        per_row_s=whole_s * (1 - fixed_share) / rows,
        encode_s=0.05 / speed,
        decode_s=0.6 / speed,
    )
