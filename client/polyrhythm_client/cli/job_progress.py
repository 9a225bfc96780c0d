"""The progress of a job on standard error: a bar on a terminal, and notes. Standard output is for results.

Knows the events of a job, not where they come from.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, assert_never

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from polyrhythm.ids import AgentId
from polyrhythm.job.events import (
    AgentFailed,
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImagePreviewed,
    ImageProgressed,
    ImageReplanned,
    JobAccepted,
    JobDelayed,
    JobEvent,
    JobQueued,
    ModelPartLoaded,
    ProfilingProgressed,
    ReplanReason,
)
from polyrhythm.plan.explanation import Exclusion, ExclusionReason
from polyrhythm.plan.plan import Plan


class JobProgress:
    """A bar with the step, the seconds left and the devices at work; only notes where there is no terminal.

    Args:
        console: on standard error.
        quiet: show no bar, even on a terminal.
    """

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[phase]}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._console = console
        self._shown_notices: set[str] = set()
        self._shown_left_out: set[tuple[AgentId, ExclusionReason]] = set()
        self._speed_replans: dict[int, list[int]] = {}
        self._shown_sizes: set[str] = set()
        self._several = False
        self._task: TaskID = self._progress.add_task("job", total=None, phase="waiting", detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def hidden(self) -> Generator[None]:
        """Takes the bar away while something else is written to the terminal."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def show(self, event: JobEvent) -> None:
        """Shows one event of the job. What changes its course is printed even without a terminal."""
        match event:
            case JobAccepted():
                self._update("accepted")
            case JobQueued(position=position):
                self._update(f"waiting, place {position} in the queue" if position else "starting")
            case JobDelayed(reason=reason):
                self._update("waiting")
                self._note(f"[yellow]waiting:[/yellow] {escape(reason)}")
            case ProfilingProgressed():
                self._show_measuring(event)
            case ImagePlanned(explanation=explanation):
                self._update("planned", detail=escape(explanation.chosen.label))
                self._show_notices(explanation.notices)
                self._show_sharing(explanation.sharing)
                self._show_left_out(explanation.exclusions)
            case ImageProgressed():
                self._show_step(event)
            case ImagePreviewed(step=step):
                self._update("denoising", detail=f"preview of step {step}")
            case ModelPartLoaded(agent=agent, part=part, loading_s=loading_s):
                message = f"loaded the {part.replace('_', ' ')}, the picture waited {loading_s:.1f} s"
                self._note(f"[yellow]agent {escape(agent)}[/yellow]: {message}")
            case AgentFailed(agent=agent, reason=reason):
                # Lost, or still there after an epoch that failed: the reason says which.
                self._note(f"[yellow]agent {escape(agent)}[/yellow]: {escape(reason or 'its run broke off')}")
            case ImageReplanned():
                self._show_replan(event)
            case ImageChunk() | ImageCompleted():
                self._update("receiving")
                self._show_more_replans(event)
            case _:
                assert_never(event)

    def _show_replan(self, event: ImageReplanned) -> None:
        """Of re-plans for a changed speed only the first is printed; the others are counted until the picture ends."""
        repeated = event.reason is ReplanReason.SPEED_CHANGED and event.image_index in self._speed_replans
        if event.reason is ReplanReason.SPEED_CHANGED:
            self._speed_replans.setdefault(event.image_index, []).append(event.begin_step)
        message = f"a new plan from step {event.begin_step} on ({event.reason.replace('_', ' ')})"
        if repeated:
            self._update("denoising", detail=message)
        else:
            self._note(f"[yellow]{message}[/yellow]: {escape(', '.join(_at_work(event.plan)))}")

    def _show_more_replans(self, event: ImageChunk | ImageCompleted) -> None:
        """Prints the re-plans for a changed speed that were only counted, once the picture is done."""
        index = event.image_index if isinstance(event, ImageChunk) else event.report.image_index
        steps = self._speed_replans.pop(index, [])
        if len(steps) > 1:
            more = "another new plan" if len(steps) == 2 else f"{len(steps) - 1} more new plans"
            listed = ", ".join(map(str, steps[1:]))
            self._note(f"[yellow]{more} (speed changed) from step{'s' * (len(steps) > 2)} {listed} on[/yellow]")

    def _show_measuring(self, event: ProfilingProgressed) -> None:
        """Printed even without a terminal, since it may take seconds; once a size, since the bar shows the rest."""
        size, devices = f"{event.width_px}x{event.height_px}", ", ".join(event.agents)
        self._update(f"measuring {size}", detail=escape(f"{event.done} of {event.total} done, {devices} at it"))
        if size not in self._shown_sizes:
            self._note(f"[dim]measuring what {size} costs each device, once[/dim]")
        self._shown_sizes.add(size)

    def _show_notices(self, notices: tuple[str, ...]) -> None:
        """Prints each once, however many pictures are planned."""
        for notice in notices:
            if notice not in self._shown_notices:
                self._note(f"[yellow]note:[/yellow] {escape(notice)}")
        self._shown_notices.update(notices)

    def _show_sharing(self, sharing: str) -> None:
        """Prints it once, where pictures that begin together have one reason."""
        if sharing and sharing not in self._shown_notices:
            self._note(f"[dim]{escape(sharing)}[/dim]")
        self._shown_notices.add(sharing)

    def _show_left_out(self, exclusions: tuple[Exclusion, ...]) -> None:
        """Prints who takes no part and why, once a reason; not those that the user left out."""
        for exclusion in exclusions:
            case = (exclusion.agent, exclusion.reason)
            expected = exclusion.reason in {ExclusionReason.NOT_NAMED, ExclusionReason.OTHER_PICTURES}
            if not expected and case not in self._shown_left_out:
                # Not the reason's name: the fastest device may be "too slow" for a picture that is sooner done alone.
                why = exclusion.message or exclusion.reason.replace("_", " ")
                self._note(f"[yellow]note:[/yellow] {escape(exclusion.agent)} takes no part: {escape(why)}")
                self._shown_left_out.add(case)

    def _show_step(self, event: ImageProgressed) -> None:
        phase = "denoising" if event.step < event.steps else "decoding"
        self._several = self._several or event.image_index > 0
        picture = f"picture {event.image_index + 1}, " if self._several else ""
        detail = f"{picture}step {event.step}/{event.steps}, {event.left_s:.1f} s left on {', '.join(event.agents)}"
        self._progress.update(self._task, completed=event.step, total=event.steps, phase=phase, detail=escape(detail))

    def _update(self, phase: str, detail: str = "") -> None:
        self._progress.update(self._task, phase=escape(phase), detail=detail)

    def _note(self, text: str) -> None:
        self._console.print(text)


def _at_work(plan: Plan) -> tuple[AgentId, ...]:
    """Members that hold rows; others stay in the gang and wait."""
    return tuple(agent for agent in plan.agents if any(segment.of(agent).rows.count for segment in plan.segments))
