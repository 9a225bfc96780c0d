"""Invariants that span several parts of the state. Read only; tests check them after every event."""

from __future__ import annotations

from collections.abc import Iterator

from polyrhythm_coordinator.scheduling.state.epoch import EpochStage
from polyrhythm_coordinator.scheduling.state.phases import Running, Unplanned, Waiting
from polyrhythm_coordinator.scheduling.state.state import State


def violations(state: State) -> list[str]:
    """Everything that must not be, in words."""
    checks = (_of_requests, _of_jobs, _of_pictures, _of_epochs, _of_agents, _of_gangs)
    return [problem for check in checks for problem in check(state)]


def _of_requests(state: State) -> Iterator[str]:
    for name in state.inquiries.keys() & (state.jobs.keys() | state.applicants.keys()):
        yield f"{name} is asked about and something else as well"
    for name, applicant in state.applicants.items():
        if applicant.checked is not None and applicant.question is not None:
            yield f"{name} has passed its checks and is asked about"


def _of_jobs(state: State) -> Iterator[str]:
    if len(set(state.queue)) != len(state.queue):
        yield f"a job is queued twice: {state.queue}"
    for name in state.queue:
        if name not in state.jobs:
            yield f"{name} is queued and does not exist"
    for name, job in state.jobs.items():
        if name in state.applicants:
            yield f"{name} is accepted and being checked"
        if name not in state.queue:
            yield f"{name} is in no queue"
        if not job.pictures and not job.waiting:
            yield f"{name} has nothing left to make and has not ended"
        if (job.started_s is None) != (len(job.waiting) == job.count):
            yield f"{name} began at {job.started_s}, and {len(job.waiting)} of {job.count} pictures wait"


def _of_pictures(state: State) -> Iterator[str]:
    for name, job in state.jobs.items():
        for index, picture in job.pictures.items():
            which, phase = f"picture {index} of {name}", picture.phase
            if index in job.waiting or (picture.job, picture.index) != (name, index):
                yield f"{which} is two: {picture.job} {picture.index}, {job.waiting}"
            if isinstance(phase, Running) and phase.epoch not in state.epochs:
                yield f"{which} runs in {phase.epoch}, which has ended"
            if isinstance(phase, Waiting) or (picture.holders_only and not isinstance(phase, Unplanned)):
                yield f"{which} has left the queue and is {phase}"


def _of_epochs(state: State) -> Iterator[str]:
    blobs = [epoch.file.blob for epoch in state.epochs.values() if epoch.file is not None]
    if len(set(blobs)) != len(blobs):
        yield f"two epochs write to one file: {blobs}"
    for name, epoch in state.epochs.items():
        if epoch.file is not None and epoch.picture_made:
            yield f"{name} has made its picture and still collects it"
        picture = state.picture_of(epoch)
        if picture is not None and picture.phase != Running(epoch=name):
            yield f"{name} belongs to picture {epoch.image_index} of {epoch.job}, which is {picture.phase}"
        if picture is None and epoch.stage not in {EpochStage.CANCELLING, EpochStage.ABORTING}:
            yield f"{name} goes on although {epoch.job} has ended"
        if all(run.gone for run in epoch.members.values()):
            yield f"{name} is over and was not settled"
        for agent, run in epoch.members.items():
            held = state.agents.get(agent)
            if not run.gone and (held is None or held.epoch != name or not held.worker_ready):
                yield f"{agent} is expected in {name} and is not there"


def _of_agents(state: State) -> Iterator[str]:
    for name, agent in state.agents.items():
        if agent.epoch is not None and (
            agent.epoch not in state.epochs or name not in state.epochs[agent.epoch].members
        ):
            yield f"{name} runs {agent.epoch}, which is not its own"
        if not agent.worker_ready and (agent.models or agent.measuring is not None or agent.epoch is not None):
            yield f"{name} is loading and yet does something"
    if state.ready != any(agent.worker_ready for agent in state.open_agents):
        yield f"readiness was told wrongly: {state.ready}"


def _of_gangs(state: State) -> Iterator[str]:
    if set(state.gangs.values()) != set(state.stores):
        yield f"gangs and their dictionaries differ: {list(state.gangs.values())}, {list(state.stores)}"
    for members in state.gangs:
        for agent in members:
            if agent not in state.agents or not state.agents[agent].worker_ready:
                yield f"the gang of {members} is kept although {agent} is gone"
    for job, agents in state.holders.items():
        for agent in agents:
            if agent not in state.agents:
                yield f"{agent} is said to hold {job} and is gone"
