"""When a picture is given up although others could try it: it ends worker after worker, or what comes out is none.

A device, a host or a stream that is lost says nothing about the picture; a worker that ends under a living agent may.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import PictureFailedError, PolyrhythmError
from polyrhythm.ids import JobId
from polyrhythm_coordinator.scheduling.epochs.stopping import cancel_epoch
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture, Running
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def give_up(tx: Transaction, name: JobId, error: PolyrhythmError) -> None:
    """Ends a job with an error; whatever still works on its pictures is asked to stop."""
    phases = [picture.phase for picture in tx.state.jobs[name].pictures.values()]
    tx.fail_job(name, error)
    for phase in phases:
        if isinstance(phase, Running) and phase.epoch in tx.state.epochs:
            cancel_epoch(tx, phase.epoch)


def after_epoch(picture: Picture, epoch: Epoch, limits: Limits) -> tuple[Picture, PictureFailedError | None]:
    """What an epoch that has ended says about its picture.

    Returns:
        The picture with the workers that it has ended, and why it is given up; None if it is not.
    """
    for agent, run in epoch.members.items():
        if run.ended is not None and run.ended.no_picture:
            return picture, PictureFailedError(f"{agent} made no picture of it: {run.ended.detail}")
    died = [f"{agent} ({run.lost})" for agent, run in epoch.members.items() if run.died]
    return counted(picture, ", ".join(died), limits) if died else (picture, None)


def counted(picture: Picture, died: str, limits: Limits) -> tuple[Picture, PictureFailedError | None]:
    """One more end of a worker, or of several at once, that worked for a picture.

    Args:
        picture: that was worked for.
        died: whose, and what was said about it.
        limits: how many are too many.

    Returns:
        The picture that remembers it, and why it is given up; None if it is not.
    """
    picture = replace(picture, deaths=(*picture.deaths, died))
    return picture, hopeless(picture.deaths, limits)


def hopeless(deaths: tuple[str, ...], limits: Limits) -> PictureFailedError | None:
    """Why what has ended these workers is given up; None as long as it is not."""
    if len(deaths) < limits.deaths_max:
        return None
    listed = "; then ".join(deaths)
    return PictureFailedError(f"workers ended while they worked for it, so no other tries it: {listed}")
