"""How a job is given up, and when although other agents could still try its picture.

That is when workers die of the picture one after another, or what is decoded is no picture. A device, a host or a
stream that is lost says nothing about the picture; a worker that dies while its agent lives on may.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import PictureFailedError, PolyrhythmError
from polyrhythm.ids import JobId
from polyrhythm_coordinator.scheduling.epochs.stopping import cancel_epoch
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Running
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def give_up(tx: Transaction, name: JobId, error: PolyrhythmError) -> None:
    """Ends a job with an error; epochs that still work on its pictures are asked to stop."""
    phases = [picture.phase for picture in tx.state.jobs[name].pictures.values()]
    tx.fail_job(name, error)
    for phase in phases:
        if isinstance(phase, Running) and phase.epoch in tx.state.epochs:
            cancel_epoch(tx, phase.epoch)


def after_epoch(picture: Picture, epoch: Epoch, limits: Limits) -> tuple[Picture, PictureFailedError | None]:
    """What an epoch that has ended says about its picture.

    Returns:
        The picture with its dead workers counted, and why it is given up; None if it is not.
    """
    for agent, run in epoch.members.items():
        if run.ended is not None and run.ended.no_picture:
            return picture, PictureFailedError(f"{agent} made no picture of it: {run.ended.message}")
    died = [f"{agent} ({run.lost})" for agent, run in epoch.members.items() if run.died]
    return counted(picture, ", ".join(died), limits) if died else (picture, None)


def counted(picture: Picture, died: str, limits: Limits) -> tuple[Picture, PictureFailedError | None]:
    """Counts one more death of a worker, or of several at once, against the picture that it worked for.

    Args:
        picture: that it worked for.
        died: whose workers, and what was said about it.
        limits: how many deaths are too many.

    Returns:
        The picture with the count, and why it is given up; None if it is not.
    """
    picture = replace(picture, deaths=(*picture.deaths, died))
    return picture, hopeless(picture.deaths, limits)


def hopeless(deaths: tuple[str, ...], limits: Limits) -> PictureFailedError | None:
    """Why a picture or request that these workers died of is given up; None as long as it is not."""
    if len(deaths) < limits.deaths_max:
        return None
    listed = "; then ".join(deaths)
    return PictureFailedError(f"workers ended while they worked for it, so no other tries it: {listed}")
