"""Why a plan was chosen: predictions an agent, the runner-up plans, and why a device is left out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.profile import Link, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPrediction:
    """What a plan costs one agent.

    Attributes:
        agent: who.
        busy_s: predicted seconds of computing while denoising.
        wait_s: predicted seconds idle while denoising.
        sent_bytes: payload that the plan makes the agent send.
        memory_bytes: most memory that the plan makes the agent hold at one time, weights included.
    """

    agent: AgentId
    busy_s: float
    wait_s: float
    sent_bytes: int
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a plan costs.

    Attributes:
        encode_s: predicted seconds to encode.
        denoise_s: predicted wall seconds of all steps.
        decode_s: predicted seconds to decode.
        agents: in gang order.
        psnr_db: predicted PSNR of the final latent against that of a single device, at most ``IDENTICAL_PSNR_DB``; None
            where the model's calibrations say nothing of such pictures; the mean over pictures.
        psnr_low_db: the same of the touchiest tenth of pictures, the best of them.
    """

    encode_s: float
    denoise_s: float
    decode_s: float
    agents: tuple[AgentPrediction, ...]
    psnr_db: float | None = None
    psnr_low_db: float | None = None

    @property
    def total_s(self) -> float:
        """Encode, denoise and decode."""
        return self.encode_s + self.denoise_s + self.decode_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One plan of the search with its prediction.

    Attributes:
        label: what a person calls it, such as ``solo gpu-0`` or ``2 agents, strides 1, 2``.
        plan: the plan.
        prediction: its cost.
    """

    label: str
    plan: Plan
    prediction: Prediction


class ExclusionReason(StrEnum):
    """Why an agent takes no part."""

    TOO_SLOW = "too_slow"
    NOT_READY = "not_ready"
    WRONG_MODEL = "wrong_model"
    TOO_LITTLE_MEMORY = "too_little_memory"
    NOT_NAMED = "not_named"
    OTHER_ARITHMETIC = "other_arithmetic"
    OTHER_PICTURES = "other_pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """An agent that is left out, with the reason in words and numbers."""

    agent: AgentId
    reason: ExclusionReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLink:
    """What messages from one agent to another cost."""

    sender: AgentId
    receiver: AgentId
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The chosen plan, the best others in order of predicted time, and the devices left out.

    Attributes:
        chosen: what will run.
        runners_up: the best others, fastest first.
        exclusions: agents that take no part.
        profiles: what the predictions rest on, one for each agent that was considered.
        links: what the predictions rest on; a pair that never shared a gang is absent.
        notices: what a user should know of how the picture is made, in whole sentences without an end mark.
        sharing: why the picture is made by many devices or by one, in a sentence like these, where other pictures
            have a say in it; empty where none has.
    """

    chosen: Candidate
    runners_up: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]
    profiles: tuple[Profile, ...] = ()
    links: tuple[MeasuredLink, ...] = ()
    notices: tuple[str, ...] = ()
    sharing: str = ""
