"""What happened, as agents measured it and as the user is told. Measured figures only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from polyrhythm.ids import AgentId, EpochId, JobId, LayerId
from polyrhythm.model.facts import DeviceFacts, SoftwareVersion
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.rows import RowRange


class CorrectionKind(StrEnum):
    """How a wrong result was put right."""

    ELEMENT = "element"
    """Elements were computed from the checksums."""
    ROLLED_BACK = "rolled_back"
    """Elements were taken back to their stored values."""
    STEP_RESTARTED = "step_restarted"
    """The whole step was run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One wrong result that the checksum monitor found and put right.

    Attributes:
        step: fine step in which it was found.
        layer: of the denoiser.
        kind: how it was put right.
        elements: that were put right.
    """

    step: int
    layer: LayerId
    kind: CorrectionKind
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatReport:
    """One agent's account of one beat, sent at the boundary that ends it.

    Attributes:
        epoch: the run.
        boundary_step: fine step at which the beat ended; x, x0 and history of all rows are held there.
        plan_version: plan that the beat followed.
        active_steps: forwards run.
        busy_s: seconds of computing; CPU time over emulated speed, or device time. Exchange excluded.
        wait_s: seconds blocked in the mailbox, the gather or the control record.
        sent_bytes: payload handed to the data plane.
        wall_s: seconds since the report before, or since the start of the first step; a preview is left out.
        last: whether no beat follows: the picture is denoised.
        corrections: reported by the checksum monitor, in order; empty where none runs.
        step_s: wall seconds of each forward, those blocked left out; without them a report says nothing of speed.
        changed: whether these left the pace of the beats before (``session.pace``): such a report does not wait.
    """

    epoch: EpochId
    boundary_step: int
    plan_version: int
    active_steps: int
    busy_s: float
    wait_s: float
    sent_bytes: int
    wall_s: float
    last: bool
    corrections: tuple[Correction, ...] = ()
    step_s: tuple[float, ...] = ()
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsHeld:
    """Rows that an agent held in one segment, as far as its plan was followed.

    Attributes:
        begin_step: first step, inclusive.
        end_step: last step, exclusive.
        rows: row units of the image.
        stride: steps that one forward advanced.
    """

    begin_step: int
    end_step: int
    rows: RowRange
    stride: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUsage:
    """Sum of one agent's beat reports over a picture, and what it computed with.

    Attributes:
        agent: its name.
        device: what it computed on.
        dtype: in which its denoiser computed.
        software: versions that decide a picture's bytes.
        rows: held in each segment that it took part in.
        steps: forwards run.
        busy_s: seconds of computing.
        wait_s: seconds blocked.
        sent_bytes: payload sent.
        corrections: wrong results that the checksum monitor found and put right.
    """

    agent: AgentId
    device: DeviceFacts
    dtype: str
    software: tuple[SoftwareVersion, ...]
    rows: tuple[RowsHeld, ...]
    steps: int
    busy_s: float
    wait_s: float
    sent_bytes: int
    corrections: int = 0

    @property
    def emulated(self) -> bool:
        """Whether its device ran at an emulated speed."""
        return self.device.emulated_speed is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """The final account of one picture.

    Attributes:
        job: which.
        image_index: which of the job's pictures.
        seed: of this picture.
        fingerprint: of the model that made it.
        plans: every plan that the picture owes a step to, in order; more than one after a re-plan or a loss.
        agents: usage of each agent that took part.
        encode_s: seconds to encode the prompt.
        denoise_s: wall seconds of all steps, from the start of the first to the end of the last.
        decode_s: seconds to decode.
        queued_s: seconds from acceptance to the start.
        predicted_denoise_s: what the first plan predicted, written before the run.
    """

    job: JobId
    image_index: int
    seed: int
    fingerprint: str
    plans: tuple[Plan, ...] = field(repr=False)
    agents: tuple[AgentUsage, ...] = field(repr=False)
    encode_s: float
    denoise_s: float
    decode_s: float
    queued_s: float
    predicted_denoise_s: float
