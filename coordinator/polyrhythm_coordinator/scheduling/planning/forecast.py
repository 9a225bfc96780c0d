"""What a plan should cost moment by moment, for the time left and for telling a hang from a slow step. Pure.

Beats are weighted by the computing of their slowest member; the sum is the prediction that the plan came with. Which
plan is best is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Prediction
from polyrhythm.plan.plan import Beat, Plan, Segment
from polyrhythm.plan.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Predicted course of an epoch.

    Attributes:
        encode_s: predicted seconds to encode.
        denoise_s: predicted wall seconds of all steps.
        decode_s: predicted seconds to decode.
        loading_s: seconds that a member may take to load a part of the model before it encodes or decodes.
        step_s: longest time between two active steps of one member, waiting for the others included.
        beat_s: longest beat.
        alone: whether it has one member, for whom nobody waits.
        course: boundaries as ``(step, predicted seconds since the begin)``, ascending, from the first step on.
    """

    encode_s: float
    denoise_s: float
    decode_s: float
    loading_s: float
    step_s: float
    beat_s: float
    alone: bool
    course: tuple[tuple[int, float], ...]

    @property
    def uninterruptible_s(self) -> float:
        """Longest time in which a member does not look for an abort: a step, or to load a part and encode or decode."""
        return max(self.step_s, self.loading_s + self.encode_s, self.loading_s + self.decode_s)

    def beats_within(self, boundary: int, seconds: float) -> int:
        """How many beats after a boundary should end within a time."""
        begin_s = dict(self.course)[boundary]
        return sum(step > boundary and end_s - begin_s <= seconds for step, end_s in self.course)

    def left_s(self, step: int) -> float:
        """Predicted seconds from a step to the end of the decode; linear between boundaries."""
        (before_step, before_s), *rest = self.course
        for after_step, after_s in rest:
            if step <= after_step:
                share = max(0, step - before_step) / (after_step - before_step)
                return self.denoise_s - before_s - share * (after_s - before_s) + self.decode_s
            before_step, before_s = after_step, after_s
        return self.decode_s


def segment_forward_s(agent: AgentId, segment: Segment, profiles: Mapping[AgentId, Profile]) -> float:
    """Predicted seconds of one forward of a member, beside those who hold rows in the same segment.

    Args:
        agent: whose forward.
        segment: with everybody's rows.
        profiles: of all its members.
    """
    rows = segment.of(agent).rows.count
    return profiles[agent].forward_s(rows, alone=works_alone(agent, segment, profiles))


def works_alone(agent: AgentId, segment: Segment, profiles: Mapping[AgentId, Profile]) -> bool:
    """Whether no other agent of its host holds rows in a segment, or works on another picture."""
    working = (profiles[share.agent] for share in segment.assignments if share.rows.count)
    return profiles[agent].is_alone_among(working)


def forecast(plan: Plan, prediction: Prediction, profiles: Mapping[AgentId, Profile]) -> Forecast:
    """Spreads a prediction over a plan's beats.

    Args:
        plan: what will be followed.
        prediction: its total cost, transport included.
        profiles: of every member.
    """
    beats = tuple(plan.beats())
    computing = tuple({agent: _computing_s(beat, agent, profiles) for agent in plan.agents} for beat in beats)
    total_s = sum(max(seconds.values()) for seconds in computing)
    # Transport is in the prediction and in no profile; it is spread over the beats in proportion.
    transport = max(1.0, prediction.denoise_s / total_s)
    course = [(plan.begin_step, 0.0)]
    for beat, seconds in zip(beats, computing, strict=True):
        course.append((beat.end_step, course[-1][1] + max(seconds.values()) * prediction.denoise_s / total_s))
    return Forecast(
        encode_s=prediction.encode_s,
        denoise_s=prediction.denoise_s,
        decode_s=prediction.decode_s,
        loading_s=max(profiles[agent].loading_s for agent in (plan.encoder, plan.decoder)),
        step_s=transport * max(_silence_s(beat, s, profiles) for beat, s in zip(beats, computing, strict=True)),
        beat_s=transport * max(max(seconds.values()) for seconds in computing),
        alone=len(plan.agents) == 1,
        course=tuple(course),
    )


def _computing_s(beat: Beat, agent: AgentId, profiles: Mapping[AgentId, Profile]) -> float:
    return len(beat.active_steps(agent)) * segment_forward_s(agent, beat.segment, profiles)


def _silence_s(beat: Beat, computing_s: Mapping[AgentId, float], profiles: Mapping[AgentId, Profile]) -> float:
    """A step and the wait for the slowest member at the end of the beat: the longest that a member says nothing."""
    slowest_s = max(computing_s.values())
    return max(
        segment_forward_s(agent, beat.segment, profiles) + slowest_s - own_s for agent, own_s in computing_s.items()
    )
