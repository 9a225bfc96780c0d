"""Why a plan was chosen, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from polyrhythm.codec.bounds import finite, name
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, Optional, trusted
from polyrhythm.codec.plan import PLAN
from polyrhythm.codec.profile import LINK, PROFILE
from polyrhythm.plan.explanation import (
    AgentPrediction,
    Candidate,
    Exclusion,
    ExclusionReason,
    Explanation,
    MeasuredLink,
    Prediction,
)
from polyrhythm.v1 import explanation_pb2

_AGENT_PREDICTION = Mapped(
    AgentPrediction,
    explanation_pb2.AgentPrediction,
    agent=name,
    busy_s=finite,
    wait_s=finite,
    sent_bytes=trusted,
    memory_bytes=trusted,
)
_PREDICTION = Mapped(
    Prediction,
    explanation_pb2.Prediction,
    encode_s=finite,
    denoise_s=finite,
    decode_s=finite,
    agents=Few(None, _AGENT_PREDICTION),
    psnr_db=Optional(finite),
    psnr_low_db=Optional(finite),
)
_CANDIDATE = Mapped(Candidate, explanation_pb2.Candidate, label=trusted, plan=PLAN, prediction=_PREDICTION)
_EXCLUSION = Mapped(
    Exclusion,
    explanation_pb2.Exclusion,
    agent=name,
    reason=EnumTable(ExclusionReason, explanation_pb2.ExclusionReason),
    message=trusted,
)
MEASURED_LINK = Mapped(MeasuredLink, explanation_pb2.MeasuredLink, sender=name, receiver=name, link=LINK)
EXPLANATION = Mapped(
    Explanation,
    explanation_pb2.Explanation,
    chosen=_CANDIDATE,
    runners_up=Few(None, _CANDIDATE),
    exclusions=Few(None, _EXCLUSION),
    profiles=Few(None, PROFILE),
    links=Few(None, MEASURED_LINK),
    notices=Few(None, trusted),
    sharing=trusted,
)
