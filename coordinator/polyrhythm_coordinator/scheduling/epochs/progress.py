"""What members report while an epoch runs: joins, steps, boundaries, previews and the picture itself.

Reports move the epoch's deadline on, let profiles follow the measured speed, and bring the next segments on their way.
Bytes of pictures stay at the edge, which keeps those that are asked for here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from polyrhythm.errors import WireError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageProgressed, ModelPartLoaded
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.picture_file import PART_BYTES, fault, file_bytes_max, parts_max
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Beat
from polyrhythm.session.events import BeatDone, EpochJoined, PartLoaded, StepDone
from polyrhythm_coordinator.scheduling.epochs.deadlines import progress_deadline_s
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import send_due_segments
from polyrhythm_coordinator.scheduling.epochs.plan_switch import follow, watched
from polyrhythm_coordinator.scheduling.fleet.host_company import computes_in_company
from polyrhythm_coordinator.scheduling.fleet.profiles import refine
from polyrhythm_coordinator.scheduling.state.effects import ImageKept, KeepBytes, PreviewKept
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage, IncompleteFile, MemberRun
from polyrhythm_coordinator.scheduling.state.events import ImagePartReceived, PreviewReceived
from polyrhythm_coordinator.scheduling.state.job import Picture, Usage
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

Report: TypeAlias = EpochJoined | PartLoaded | StepDone | BeatDone | PreviewReceived | ImagePartReceived
"""What a member says while it works."""


def take_report(tx: Transaction, agent: AgentId, event: Report) -> None:
    """Takes what a member says about an epoch; ignores one that has ended, since its messages may still be on the way.

    Raises:
        WireError: it cannot be true.
    """
    name = event.report.epoch if isinstance(event, BeatDone) else event.epoch
    epoch = tx.state.epochs.get(name)
    if epoch is None or agent not in epoch.members or epoch.members[agent].gone:
        return
    step = epoch.step
    match event:
        case EpochJoined():
            epoch = _take_join(tx, epoch, agent, event)
        case PartLoaded(part=part, loading_s=loading_s):
            loaded = ModelPartLoaded(image_index=epoch.image_index, agent=agent, part=part, loading_s=loading_s)
            tx.tell(epoch.job, loaded)
        case StepDone():
            epoch = _take_step(epoch, agent, event.step)
        case BeatDone(report=report):
            epoch = _take_beat(tx, epoch, agent, report)
        case PreviewReceived():
            _take_preview(tx, epoch, agent, event)
        case ImagePartReceived():
            epoch = _take_part(tx, epoch, agent, event)
    tx.put_epoch(replace(epoch, deadline_s=progress_deadline_s(epoch, tx.limits, tx.now_s)))
    if epoch.step > step:
        tell_progress(tx, epoch)


def tell_progress(tx: Transaction, epoch: Epoch, *, encode_s: float = 0.0) -> None:
    """Says how far the slowest member is.

    Args:
        tx: the transition.
        epoch: that runs, or is about to.
        encode_s: that are still to come before its first step.
    """
    if epoch.stage is EpochStage.ABORTING:
        return
    progressed = ImageProgressed(
        image_index=epoch.image_index,
        step=epoch.step,
        steps=epoch.plan.steps,
        left_s=epoch.forecast.left_s(epoch.step) + encode_s,
        agents=epoch.plan.agents,
    )
    tx.tell(epoch.job, progressed)


def _take_join(tx: Transaction, epoch: Epoch, agent: AgentId, event: EpochJoined) -> Epoch:
    uuids = {name: tx.state.agents[name].device.uuid for name in epoch.members if name in tx.state.agents}
    measured = {(uuids[agent], uuids[held.peer]): held.link for held in event.links if held.peer in uuids}
    tx.state = replace(tx.state, links={**tx.state.links, **measured})
    picture = tx.state.picture_of(epoch)
    in_company = picture is not None and computes_in_company(tx.state, picture, agent)
    epoch = epoch.with_run(agent, replace(epoch.members[agent], joined=True, in_company=in_company))
    all_joined = all(run.joined for run in epoch.members.values())
    if picture is not None:
        picture = _with_reached(picture, agent, epoch.begin_step)
        picture = replace(picture, encode_s=max(picture.encode_s, event.encode_s))
        if all_joined and picture.first_step_s is None:
            picture = replace(picture, first_step_s=tx.clock_s)
        tx.put_picture(picture)
    if all_joined and epoch.stage is EpochStage.FORMING:
        return replace(epoch, stage=EpochStage.RUNNING, reported_s=tx.clock_s)
    return epoch


def _take_step(epoch: Epoch, agent: AgentId, step: int) -> Epoch:
    run = epoch.members[agent]
    if not epoch.begin_step < step <= epoch.plan.steps:
        raise WireError(f"step_done.step: {step} is not in ({epoch.begin_step}, {epoch.plan.steps}]")
    return epoch.with_run(agent, replace(run, step=max(run.step, step)))


def _take_beat(tx: Transaction, epoch: Epoch, agent: AgentId, report: BeatReport) -> Epoch:
    epoch = follow(tx, _take_step(epoch, agent, report.boundary_step), report)
    beat, run = _beat_of(epoch, report), epoch.members[agent]
    _check_beat(beat, run, agent, report)
    if report.boundary_step > epoch.boundary:
        age_s = 0.0 if report.changed else tx.limits.heartbeat_interval_s
        epoch = replace(epoch, reported_s=tx.clock_s, report_age_s=age_s)
    picture = tx.state.picture_of(epoch)
    in_company = picture is not None and computes_in_company(tx.state, picture, agent)
    boundary = max(run.boundary, report.boundary_step)
    epoch = epoch.with_run(agent, replace(run, boundary=boundary, in_company=in_company))
    if picture is not None:
        picture = _with_reached(picture, agent, report.boundary_step)
        picture = replace(picture, usage={**picture.usage, agent: _added(picture.usage[agent], report)})
        if report.boundary_step == epoch.plan.steps:
            picture = replace(picture, last_step_s=tx.clock_s)
        tx.put_picture(picture)
        if in_company == run.in_company:  # else others began or ended in the middle of it: it says nothing of either
            refine(tx, picture, epoch, beat.segment, agent, report)
    return send_due_segments(tx, watched(epoch, beat, agent, report))


def _beat_of(epoch: Epoch, report: BeatReport) -> Beat:
    """The beat that a report is about.

    Raises:
        WireError: there is none.
    """
    plan = epoch.versions.get(report.plan_version)
    if plan is None:
        raise WireError(f"beat_done.plan_version: {report.plan_version} is not followed by {epoch.epoch}")
    if plan is not epoch.plan and report.boundary_step > epoch.plan.begin_step:
        raise WireError(
            f"beat_done.plan_version: {epoch.plan.version} is followed from step {epoch.plan.begin_step} on"
        )
    for beat in plan.beats():
        if beat.end_step == report.boundary_step:
            return beat
    raise WireError(f"beat_done.boundary_step: {report.boundary_step} is no boundary of the plan")


def _check_beat(beat: Beat, run: MemberRun, agent: AgentId, report: BeatReport) -> None:
    """Each beat counts once, for no more than it is made of: sums of reports stay what a picture can take.

    Raises:
        WireError: the report says otherwise.
    """
    if report.boundary_step <= run.boundary:
        raise WireError(f"beat_done.boundary_step: {report.boundary_step} comes after {run.boundary}")
    active = len(beat.active_steps(agent))
    if not len(report.step_s) <= report.active_steps <= active:
        raise WireError(f"beat_done.active_steps: {report.active_steps} of {active}, with {len(report.step_s)} step_s")


def _added(usage: Usage, report: BeatReport) -> Usage:
    return replace(
        usage,
        steps=usage.steps + report.active_steps,
        busy_s=usage.busy_s + report.busy_s,
        wait_s=usage.wait_s + report.wait_s,
        sent_bytes=usage.sent_bytes + report.sent_bytes,
        corrections=usage.corrections + len(report.corrections),
    )


def _take_preview(tx: Transaction, epoch: Epoch, agent: AgentId, event: PreviewReceived) -> None:
    """Has a preview kept for the client.

    Raises:
        WireError: nobody asked for it, or not this agent, or not of this step, or it is no picture.
    """
    picture = tx.state.picture_of(epoch)
    if picture is None:  # nobody waits for it any more
        return
    if agent != epoch.plan.decoder or not picture.image.preview_every_steps:
        raise WireError(f"preview_made: {agent} sent one that it was not asked for")
    if not epoch.begin_step < event.step < epoch.plan.steps:
        raise WireError(f"preview_made.step: {event.step} is not in ({epoch.begin_step}, {epoch.plan.steps})")
    if not event.file.signed:
        raise WireError("preview_made.png: does not begin with the PNG signature")
    tx.emit(KeepBytes(job=epoch.job, blob=event.blob))
    kept = PreviewKept(image_index=epoch.image_index, step=event.step, blob=event.blob, size_bytes=event.size_bytes)
    tx.tell(epoch.job, kept)


def _take_part(tx: Transaction, epoch: Epoch, agent: AgentId, event: ImagePartReceived) -> Epoch:
    """Has the PNG file kept; the client gets it whole, so that no part of a lost decoder's file is among it.

    Raises:
        WireError: it is none, or longer or in more parts than one of its size.
    """
    picture = tx.state.picture_of(epoch)
    if picture is None:  # nobody waits for it any more
        return epoch
    file = epoch.file or IncompleteFile(blob=event.blob)
    if agent != epoch.plan.decoder or epoch.picture_made or event.offset != file.size_bytes:
        raise WireError(
            f"image_made: {agent} sent offset {event.offset}, expected {file.size_bytes} from {epoch.plan.decoder}"
        )
    file = replace(file, parts=file.parts + 1, size_bytes=file.size_bytes + event.size_bytes)
    _check_file(file, event, picture.image)
    tx.emit(KeepBytes(job=epoch.job, blob=file.blob))
    if event.file is None:
        return replace(epoch, file=file)
    tx.put_picture(replace(picture, decode_s=event.decode_s))
    tx.tell(epoch.job, ImageKept(image_index=picture.index, blob=file.blob, size_bytes=file.size_bytes))
    return replace(epoch, file=None, picture_made=True)


def _check_file(file: IncompleteFile, part: ImagePartReceived, image: ImageSpec) -> None:
    """What can be told of a picture's file without decoding it, each time a part of it has come.

    Raises:
        WireError: it is too long or in too many parts, has an empty one, or is no PNG of the picture's size.
    """
    size = f"{image.width_px}x{image.height_px}"
    if not part.size_bytes or file.size_bytes > file_bytes_max(image.width_px, image.height_px):
        raise WireError(f"image_made.data: {file.parts} parts are no file of {size} pixels")
    most = parts_max(image.width_px, image.height_px)
    if file.parts > most:
        raise WireError(f"image_made.data: a file of {size} pixels has at most {most} parts, of {PART_BYTES} bytes")
    wrong = "" if part.file is None else fault(part.file, image.width_px, image.height_px)
    if wrong:
        raise WireError(f"image_made.data: the picture's file {wrong}")


def _with_reached(picture: Picture, agent: AgentId, boundary: int) -> Picture:
    reached = picture.reached.get(agent, frozenset[int]()) | {boundary}
    return replace(picture, reached={**picture.reached, agent: reached})
