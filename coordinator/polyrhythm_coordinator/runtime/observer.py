"""What the coordinator logs: agents that come and go, jobs and what becomes of them. Owns words, decides nothing."""

from __future__ import annotations

import structlog

from polyrhythm.errors import InternalError
from polyrhythm.job.events import (
    AgentFailed,
    ImageCompleted,
    ImagePlanned,
    ImageReplanned,
    JobAccepted,
    ModelPartLoaded,
)
from polyrhythm.session.events import WorkerLost, WorkerReady
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent, Effect, EndJob, FailJob, Tell
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDrained,
    AgentEventReceived,
    Event,
    PlanFailed,
)

EVENT_CHARACTERS_MAX = 2000
"""Of an event that is logged as it came; it may be as long as a message."""

log = structlog.get_logger("polyrhythm.coordinator")


def log_everything(event: Event, effects: tuple[Effect, ...]) -> None:
    """Logs an event of the scheduling core and its effects, as far as a person would want to read them."""
    _log_event(event)
    for effect in effects:
        _log_effect(effect)


def log_failure(event: Event, error: Exception) -> None:
    """Logs an event that the scheduling core broke down on, and that cost only whoever it came from."""
    match event:
        case AgentEventReceived(agent=agent, session=session, event=said):
            told = repr(said)[:EVENT_CHARACTERS_MAX]
            log.error("agent's event broke the core down", agent=agent, session=session, said=told, exc_info=error)
        case _:  # without its values, prompts among them
            log.error("an event broke the core down", event_kind=type(event).__name__, exc_info=error)


def _log_event(event: Event) -> None:
    match event:
        case AgentConnected(session=session, register=register):
            log.info("agent connected", agent=register.agent, session=session, device=register.device.name)
        case AgentDisconnected(agent=agent, session=session, reason=reason):
            log.info("agent disconnected", agent=agent, session=session, reason=reason)
        case AgentDrained(agent=agent, undo=undo):
            log.info("agent put back" if undo else "agent drained", agent=agent)
        case PlanFailed(job=job, error=InternalError() as error):
            # In mid-image nobody else tells of it: the picture goes on by the plan that it has.
            log.error("the planner broke down", job=job, error=str(error), exc_info=error.__cause__)
        case AgentEventReceived(agent=agent, event=WorkerReady(models=models)):
            log.info("agent ready", agent=agent, models=[facts.name for facts in models])
        case AgentEventReceived(agent=agent, event=WorkerLost(reason=reason)):
            log.warning("worker lost", agent=agent, reason=reason)
        case _:
            pass


def _log_effect(effect: Effect) -> None:
    match effect:
        case DisconnectAgent(agent=agent, session=session, error=error):
            log.warning("agent's stream ended by the coordinator", agent=agent, session=session, error=str(error))
        case Tell(job=job, fact=JobAccepted()):
            log.info("job accepted", job=job)
        case Tell(job=job, fact=ImagePlanned(explanation=explanation)):
            chosen = explanation.chosen
            log.info("planned", job=job, plan=chosen.label, predicted_s=round(chosen.prediction.total_s, 3))
        case Tell(job=job, fact=ModelPartLoaded(agent=agent, part=part, loading_s=loading_s)):
            log.info("picture waited for loading", job=job, agent=agent, part=str(part), loading_s=round(loading_s, 3))
        case Tell(job=job, fact=AgentFailed(agent=agent, reason=reason)):
            log.warning("agent failed in mid-image", job=job, agent=agent, reason=reason)
        case Tell(job=job, fact=ImageReplanned(reason=reason, begin_step=begin_step, plan=plan)):
            log.warning("planned again", job=job, reason=str(reason), begin_step=begin_step, agents=list(plan.agents))
        case Tell(job=job, fact=ImageCompleted(report=report)):
            log.info("picture done", job=job, image=report.image_index, denoise_s=round(report.denoise_s, 3))
        case EndJob(job=job):
            log.info("job done", job=job)
        case FailJob(job=job, error=error):
            log.warning("job ended with an error", job=job, code=str(error.code), error=str(error))
        case _:
            pass
