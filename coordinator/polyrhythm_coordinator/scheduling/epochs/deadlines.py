"""Until when members of an epoch must give the next sign of progress: what is predicted, several times, and a constant.

The constants cover what does not scale with the model: scheduling of processes, a first touch of memory. Agents watch
their own steps (``step_timeout_s``); the coordinator's deadlines catch what they miss.
"""

from __future__ import annotations

from polyrhythm_coordinator.scheduling.planning.forecast import Forecast
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.timeouts import Limits


def step_timeout_s(limits: Limits, course: Forecast, *, previews: bool) -> float:
    """After how many seconds the silence of a member that steps is a hang; later where it is alone in its epoch."""
    longest_s = course.step_s + (course.decode_s if previews else 0.0)
    return limits.slack * longest_s + limits.step_timeout_s + (limits.alone_extra_s if course.alone else 0.0)


def forming_deadline_s(limits: Limits, course: Forecast, now_s: float) -> float:
    """Until when the members must have formed their gang and encoded the prompt."""
    return now_s + limits.forming_timeout_s + limits.slack * (course.loading_s + course.encode_s)


def progress_deadline_s(epoch: Epoch, limits: Limits, now_s: float) -> float:
    """Until when the next report must come after one that came now."""
    match epoch.stage:
        case EpochStage.RUNNING if epoch.picture_made:
            return now_s + limits.abort_timeout_s + epoch.forecast.step_s
        case EpochStage.RUNNING if any(run.boundary == epoch.plan.steps for run in epoch.members.values()):
            return now_s + _decoding_s(limits, epoch.forecast)
        case EpochStage.RUNNING:
            coming = epoch.replan.takeover
            courses = (epoch.forecast,) if coming is None else (epoch.forecast, coming.forecast)
            return now_s + 2 * max(step_timeout_s(limits, course, previews=True) for course in courses)
        case EpochStage.FORMING | EpochStage.HANDING_OVER | EpochStage.CANCELLING | EpochStage.ABORTING:
            return epoch.deadline_s


def boundary_deadline_s(epoch: Epoch, limits: Limits, now_s: float) -> float:
    """Until when members that were asked to stop at the next boundary must have come to it."""
    return now_s + 2 * epoch.forecast.beat_s + limits.cancel_timeout_s


def decoding_extra_s(epoch: Epoch, limits: Limits) -> float:
    """What is added to that once a member has the last boundary behind it: the picture is let be decoded."""
    if all(run.boundary < epoch.plan.steps for run in epoch.members.values()):
        return 0.0
    return _decoding_s(limits, epoch.forecast)


def abort_deadline_s(epoch: Epoch, limits: Limits, now_s: float) -> float:
    """Until when members that were told to stop at once must have; first they may finish what cannot be interrupted."""
    alone_s = limits.alone_extra_s if epoch.forecast.alone else 0.0
    return now_s + limits.abort_timeout_s + limits.abort_slack * epoch.forecast.uninterruptible_s + alone_s


def _decoding_s(limits: Limits, course: Forecast) -> float:
    return limits.decode_timeout_s + limits.slack * (course.loading_s + course.decode_s)
