"""What happened, as agents measured it and as the user is told. Measured figures only."""

from __future__ import annotations

from dataclasses import dataclass

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.plan import Plan


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
        wall_s: seconds from the boundary before to this one.
    """

    epoch: EpochId
    boundary_step: int
    plan_version: int
    active_steps: int
    busy_s: float
    wait_s: float
    sent_bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUsage:
    """Sum of one agent's beat reports over a job.

    Attributes:
        agent: who.
        device: name of its device.
        rows: row units held in each segment that it took part in, as ``(begin_step, end_step, begin, end, stride)``.
        steps: forwards run.
        busy_s: seconds of computing.
        wait_s: seconds blocked.
        sent_bytes: payload sent.
        emulated: whether the device ran at an emulated speed.
    """

    agent: AgentId
    device: str
    rows: tuple[tuple[int, int, int, int, int], ...]
    steps: int
    busy_s: float
    wait_s: float
    sent_bytes: int
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """The final account of one picture.

    Attributes:
        job: which.
        image_index: which of the job's pictures.
        seed: of this picture.
        plans: every plan followed, in order; more than one after a re-plan or a loss.
        agents: usage of each agent that took part.
        encode_s: seconds to encode the prompt.
        denoise_s: wall seconds of all steps, from the start of the first to the end of the last.
        decode_s: seconds to decode.
        queued_s: seconds from acceptance to the start.
        predicted_denoise_s: what the first plan predicted, written before the run.
        versions: software and model fingerprints that decide the picture.
    """

    job: JobId
    image_index: int
    seed: int
    plans: tuple[Plan, ...]
    agents: tuple[AgentUsage, ...]
    encode_s: float
    denoise_s: float
    decode_s: float
    queued_s: float
    predicted_denoise_s: float
    versions: tuple[tuple[str, str], ...]
