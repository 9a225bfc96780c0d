"""Measured cost of a forward on one device: t(rows) = fixed + per_row * rows (STADI's v_i = 1 / t_i, made affine).

Devices of one host slow each other down, so there are two lines: for one that works while the others of its host rest,
and for one that works while they do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.model.facts import ModelPart

JITTER_MAX = 10.0
"""A share of its mean by which nothing that is measured sensibly deviates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a profile is valid for.

    Attributes:
        model: name of the model.
        width_px: of the whole image.
        height_px: of the whole image.
        batch: batch elements of one forward: 2 with guidance, else 1.
    """

    model: str
    width_px: int
    height_px: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMemory:
    """Most memory that a device's allocator handed out beyond what was held before. CUDA tells; a CPU does not.

    Attributes:
        forward_fixed_bytes: of a forward, whatever the rows.
        forward_row_bytes: that one row unit adds.
        decode_bytes: of decoding the whole latent; 0 where there was no room for the autoencoder.
        encode_bytes: of encoding; 0 where there was no room for the text encoder.
    """

    forward_fixed_bytes: int
    forward_row_bytes: int
    decode_bytes: int
    encode_bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.forward_fixed_bytes, self.forward_row_bytes, self.decode_bytes, self.encode_bytes) < 0:
            raise ValueError(f"a peak of memory is negative: {self}")

    def forward_bytes(self, rows: int) -> int:
        """Of one forward over so many row units; none for no rows."""
        return self.forward_fixed_bytes + self.forward_row_bytes * rows if rows else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardLine:
    """Seconds of a forward over the rows.

    Attributes:
        fixed_s: that do not depend on the rows.
        per_row_s: that one row unit adds.
    """

    fixed_s: float
    per_row_s: float

    def __post_init__(self) -> None:
        if self.fixed_s < 0 or self.per_row_s <= 0:
            raise ValueError(f"a forward's time is not positive: fixed {self.fixed_s}, per row {self.per_row_s}")

    def scaled(self, ratio: float) -> ForwardLine:
        """Of a device that takes ``ratio`` times as long."""
        return ForwardLine(fixed_s=self.fixed_s * ratio, per_row_s=self.per_row_s * ratio)

    def forward_s(self, rows: int) -> float:
        """Of so many row units; none for no rows."""
        return self.fixed_s + self.per_row_s * rows if rows else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Measured seconds of one agent for one workload.

    Attributes:
        agent: who measured.
        workload: for what.
        fixed_s: seconds of a forward that do not depend on the rows, while the other agents of its host work too.
        per_row_s: seconds that one row unit adds, likewise.
        encode_s: seconds to encode the prompt, loading left aside; 0 where there was no room to.
        decode_s: seconds to decode the whole latent, loading left aside; 0 where there was no room to.
        samples: forwards measured.
        memory: peak of memory; None where the device cannot tell, and the model's formulas have to do.
        no_room: parts that did not fit beside the denoiser, so that the agent cannot do what they are for.
        offloaded: whether the denoiser's weights were brought in block by block.
        loading_s: seconds that loading the slowest part took, where one had to be loaded.
        alone: of a forward while the other agents of its host rest; None where it is the same.
        jitter: standard deviation of the time between two exchanges of a forward, as a share of that time.
        measured_rows: most rows of a forward that was measured: what more take is scaled. 0 where it is not known.
        host: of the running machine that the agent is in; empty where it is not known.
        in_company: whether other agents of its host work on other pictures meanwhile, so that it works alone in no
            plan.
    """

    agent: AgentId
    workload: Workload
    fixed_s: float
    per_row_s: float
    encode_s: float
    decode_s: float
    samples: int
    memory: PeakMemory | None = None
    no_room: tuple[ModelPart, ...] = ()
    loading_s: float = 0.0
    offloaded: bool = False
    alone: ForwardLine | None = None
    jitter: float = 0.0
    measured_rows: int = 0
    host: str = ""
    in_company: bool = False

    def __post_init__(self) -> None:
        if self.fixed_s < 0 or self.per_row_s <= 0 or min(self.encode_s, self.decode_s, self.loading_s) < 0:
            raise ValueError(
                f"profile of {self.agent} is not positive: fixed {self.fixed_s}, per row {self.per_row_s}, "
                f"encode {self.encode_s}, decode {self.decode_s}, loading {self.loading_s}"
            )
        if not 0 <= self.jitter < JITTER_MAX or self.measured_rows < 0:
            raise ValueError(
                f"profile of {self.agent}: jitter must be in [0, {JITTER_MAX:g}), measured rows not negative: "
                f"{self.jitter}, {self.measured_rows}"
            )

    def use_s(self, part: ModelPart) -> float:
        """Seconds of what a part is for: encoding, decoding; infinite where there was no room for it."""
        if part in self.no_room:
            return inf
        match part:
            case ModelPart.TEXT_ENCODER:
                return self.encode_s
            case ModelPart.AUTOENCODER:
                return self.decode_s
            case _:
                assert_never(part)

    @property
    def together(self) -> ForwardLine:
        """Of a forward while the other agents of its host work too."""
        return ForwardLine(fixed_s=self.fixed_s, per_row_s=self.per_row_s)

    def is_alone_among(self, working: Iterable[Profile]) -> bool:
        """Whether nobody else of its host works: neither one of these nor on another picture.

        Those of which the host is not known may be in it.
        """
        if self.in_company:
            return False
        others = (other for other in working if other.agent != self.agent)
        return all(self.host and other.host and other.host != self.host for other in others)

    def line(self, *, alone: bool) -> ForwardLine:
        """Of a forward while the other agents of its host rest, or work."""
        return self.alone if alone and self.alone is not None else self.together

    def forward_s(self, rows: int, *, alone: bool = False) -> float:
        """Predicted seconds of one forward over so many row units; none for no rows.

        Args:
            rows: row units.
            alone: whether the other agents of its host rest meanwhile.
        """
        if alone and self.alone is not None:
            return self.alone.forward_s(rows)
        return self.fixed_s + self.per_row_s * rows if rows else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Measured cost of a message between two agents.

    A device that shares its cores with the transport (a CPU that computes on all of them) also loses computing time
    to each message. Elsewhere the last two are 0.

    Attributes:
        latency_s: seconds of a message of no size.
        bytes_per_s: rate of a large message.
        handling_s: seconds of computing that the sending agent loses to a message of no size, either way.
        handling_s_per_byte: seconds of computing that the sending agent loses to a byte, either way.
    """

    latency_s: float
    bytes_per_s: float
    handling_s: float = 0.0
    handling_s_per_byte: float = 0.0

    def transfer_s(self, size_bytes: int) -> float:
        """Predicted seconds of one message."""
        return self.latency_s + size_bytes / self.bytes_per_s
