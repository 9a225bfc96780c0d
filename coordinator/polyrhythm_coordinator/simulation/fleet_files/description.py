"""A fleet in words and numbers: devices, links, what happens to them and when. Pure; ``fleet_file`` reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import DeviceFacts, DeviceKind, ModelFacts
from polyrhythm.plan.profile import ForwardLine, Link, Profile, Workload
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.simulation.fleet_files.speed_course import OWN_SPEED, SpeedCourse

COSTS = ("fixed_s", "per_row_s", "encode_s", "decode_s", "step_overhead_s")
"""Of a device, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOrigin:
    """What a described device stands for; told, and nothing is computed from it but who shares a machine.

    Attributes:
        card: what a person calls it.
        host: name of the machine that it is in.
        dtype: arithmetic of the denoiser when its costs were measured.
        emulated_speed: share of its true speed at which it ran then on purpose; None where it ran freely.
    """

    card: str = ""
    host: str = ""
    dtype: str = ""
    emulated_speed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDescription:
    """One device.

    Attributes:
        agent: its name.
        fixed_s: seconds of a forward that do not depend on the rows, for the fleet's base workload, while other devices
            of its host work too.
        per_row_s: seconds that one row unit adds, likewise.
        encode_s: seconds to encode the prompt.
        decode_s: seconds to decode the picture.
        step_overhead_s: seconds an active step that no profile counts: launching, waking, bookkeeping.
        memory_bytes: of the device, all of them free.
        kind: CPU or CUDA.
        course: its speed over time, until it dies.
        joins_at_s: when it connects; 0 where it is there from the start.
        dies_silently: nobody sees a connection close: it is missed when its heartbeats are.
        drained_at_s: when somebody drains it, for good; None where nobody does.
        origin: what it stands for.
        alone: of a forward while the other devices of its host rest; None where it is the same.
    """

    agent: AgentId
    fixed_s: float
    per_row_s: float
    encode_s: float
    decode_s: float
    step_overhead_s: float = 0.0
    memory_bytes: int = 16 << 30
    kind: DeviceKind = DeviceKind.CUDA
    course: SpeedCourse = OWN_SPEED
    joins_at_s: float = 0.0
    dies_silently: bool = False
    drained_at_s: float | None = None
    origin: DeviceOrigin = DeviceOrigin()
    alone: ForwardLine | None = None

    @property
    def shared_host(self) -> str:
        """Machine whose other devices slow it down; empty where none does."""
        return self.origin.host if self.alone is not None else ""

    @property
    def facts(self) -> DeviceFacts:
        """As its agent introduces it."""
        return DeviceFacts(
            uuid=f"simulated-{self.agent}",
            name=f"simulated {self.origin.card or self.agent}",
            kind=self.kind,
            memory_total_bytes=self.memory_bytes,
            memory_free_bytes=self.memory_bytes,
            kernel=self.shared_host,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCosts:
    """What coordination takes in virtual time.

    Attributes:
        message_s: of a message between coordinator and agent, either way.
        plan_s: of a plan search.
        form_gang_s: to connect the members of a new gang and to measure their links.
        profile_s: of measuring a new size.
    """

    message_s: float = 0.001
    plan_s: float = 0.005
    form_gang_s: float = 0.1
    profile_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDescription:
    """One fleet.

    Attributes:
        facts: of the model that all devices hold.
        workload: for which the costs of the devices are given.
        devices: at least one.
        default_link: between any two devices without one of their own.
        links: of pairs as ``(sender, receiver)``.
        control: what coordination takes.
    """

    facts: ModelFacts
    workload: Workload
    devices: tuple[DeviceDescription, ...]
    default_link: Link
    links: Mapping[tuple[AgentId, AgentId], Link] = field(default_factory=dict[tuple[AgentId, AgentId], Link])
    control: ControlCosts = ControlCosts()

    def link(self, sender: AgentId, receiver: AgentId) -> Link:
        """What messages from one device to another cost."""
        return self.links.get((sender, receiver), self.default_link)

    def profile(self, device: DeviceDescription, image: ImageSpec) -> Profile:
        """What a forward of a picture costs a device at speed 1.

        Of another size than the base workload, a row costs in proportion to its tokens and the batch, and decoding in
        proportion to the pixels. Attention grows faster than that: describe large pictures by their own costs.
        """
        wanted, base = workload_of(image), self.workload
        row_scale = wanted.width_px / base.width_px * wanted.batch / base.batch
        decode_scale = wanted.width_px * wanted.height_px / (base.width_px * base.height_px)
        alone = device.alone
        return Profile(
            agent=device.agent,
            workload=wanted,
            alone=alone and ForwardLine(fixed_s=alone.fixed_s, per_row_s=alone.per_row_s * row_scale),
            host=device.shared_host,
            fixed_s=device.fixed_s,
            per_row_s=device.per_row_s * row_scale,
            encode_s=device.encode_s,
            decode_s=device.decode_s * decode_scale,
            samples=1,
        )
