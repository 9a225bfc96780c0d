"""Fleets and plans as tables for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from polyrhythm.fleet import AgentView
from polyrhythm.model.calibration import IDENTICAL_PSNR_DB
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Candidate, Explanation, Prediction
from polyrhythm.plan.gang_plan import steps_taken
from polyrhythm.plan.plan import Assignment, Plan, Segment

_MIB = 1024**2
_GIB = 1024**3


def agents_table(agents: tuple[AgentView, ...]) -> Table:
    """One line an agent, on 80 columns too: a device's name is cut where it has to be.

    Where some speeds are emulated, a column says which.
    """
    emulated = any(view.device.emulated_speed is not None for view in agents)
    table = Table(title="Agents", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for heading in ("agent", "state", "device", "memory", *(("speed",) if emulated else ()), "models"):
        table.add_column(heading, no_wrap=heading != "device")  # what may wrap is what gives way
    for view in agents:
        table.add_row(
            escape(view.name),
            view.state,
            Text(f"{view.device.kind}: {view.device.name}", no_wrap=True, overflow="ellipsis"),
            _memory(view),
            *((_speed(view),) if emulated else ()),
            escape(", ".join(map(_model, view.models))),
        )
    return table


def print_troubles(console: Console, agents: tuple[AgentView, ...]) -> None:
    """How the last workers of agents were lost that have no other one yet."""
    for view in agents:
        if view.trouble:
            console.print(f"[bold]{escape(view.name)}[/bold]: {escape(view.trouble)}", soft_wrap=True)


def print_explanation(console: Console, explanation: Explanation, agents: tuple[AgentView, ...]) -> None:
    """The chosen plan by segment and by agent, what it was compared with, and who is left out."""
    emulated = any(view.device.emulated_speed is not None for view in agents)
    console.print(_segments_table(explanation.chosen))
    console.print(_shares_table(explanation.chosen, emulated=emulated))
    console.print(_candidates_table(explanation))
    for exclusion in explanation.exclusions:
        reason = exclusion.reason.replace("_", " ")
        console.print(f"left out: [bold]{escape(exclusion.agent)}[/bold] ({reason}): {escape(exclusion.message)}")
    if explanation.sharing:
        console.print(f"sharing: {escape(explanation.sharing)}")
    for profile in explanation.profiles:
        if profile.offloaded and profile.agent in explanation.chosen.plan.agents:
            console.print(f"offloaded: [bold]{escape(profile.agent)}[/bold] brings its weights in block by block")
    for notice in explanation.notices:
        console.print(f"[yellow]note:[/yellow] {escape(notice)}")
    if emulated:
        console.print("[yellow]speeds are emulated: every figure above is of emulated devices[/yellow]")


def _segments_table(chosen: Candidate) -> Table:
    table = Table(title=f"Plan: {escape(chosen.label)}")
    table.add_column("steps")
    table.add_column("exchange")
    table.add_column("beat", justify="right")
    for agent in chosen.plan.agents:
        table.add_column(escape(agent), justify="right")
    for segment in chosen.plan.segments:
        table.add_row(
            f"{segment.begin_step}..{segment.end_step}",
            _exchange(segment),
            str(segment.beat_steps),
            *(_share(segment, assignment) for assignment in segment.assignments),
        )
    encodes, decodes = escape(chosen.plan.encoder), escape(chosen.plan.decoder)
    table.caption = f"{steps_taken((chosen.plan,))}\nencodes: {encodes}; decodes: {decodes}"
    return table


def _exchange(segment: Segment) -> str:
    """How others' rows are seen, if others hold any."""
    working = sum(assignment.rows.count > 0 for assignment in segment.assignments)
    return segment.exchange.value if working > 1 else "alone"


def _share(segment: Segment, assignment: Assignment) -> str:
    if not assignment.rows.count:
        return "-"
    stride = f", every {assignment.stride} steps" if assignment.stride > 1 else ""
    return f"rows {assignment.rows.begin}..{assignment.rows.end} of {segment.row_count}{stride}"


def _shares_table(chosen: Candidate, *, emulated: bool) -> Table:
    table = Table(title="Predicted work while denoising" + (" (emulated speeds)" if emulated else ""))
    table.add_column("agent")
    for heading in ("busy s", "wait s", "sent MB", "memory MiB"):
        table.add_column(heading, justify="right")
    for share in chosen.prediction.agents:
        table.add_row(
            escape(share.agent),
            f"{share.busy_s:.3f}",
            f"{share.wait_s:.3f}",
            f"{share.sent_bytes / 1e6:.2f}",
            f"{share.memory_bytes / _MIB:.1f}",
        )
    return table


def _candidates_table(explanation: Explanation) -> Table:
    # Narrow headings: a column that does not fit into 80 characters is not shown at all.
    table = Table(title="Chosen plan and the best others, in seconds")
    table.add_column("plan", min_width=20)
    for heading in ("encode", "denoise", "decode", "total", "longer", "PSNR"):
        table.add_column(heading, justify="right", no_wrap=True)
    chosen_s = explanation.chosen.prediction.total_s
    for candidate in (explanation.chosen, *explanation.runners_up):
        prediction = candidate.prediction
        times_s = (prediction.encode_s, prediction.denoise_s, prediction.decode_s, prediction.total_s)
        against = "chosen" if candidate is explanation.chosen else f"{prediction.total_s / chosen_s - 1.0:+.1%}"
        table.add_row(escape(candidate.label), *(f"{time_s:.3f}" for time_s in times_s), against, _psnr(prediction))
    notes = [
        "PSNR in dB: predicted mean, of the final latent against the one of a single device"
        if explanation.chosen.prediction.psnr_db is not None
        else "quality not predicted: no calibration of the model says anything of such pictures"
    ]
    low_db = explanation.chosen.prediction.psnr_low_db
    if low_db is not None and low_db < IDENTICAL_PSNR_DB:
        notes.append(f"one picture in ten of the chosen plan: {low_db:.1f} dB or less")
    if any(_merges_steps(candidate.plan) for candidate in (explanation.chosen, *explanation.runners_up)):
        notes.append("merged steps: everybody at work takes two or more steps of the schedule in one")
    table.caption = "\n".join(notes)
    return table


def _merges_steps(plan: Plan) -> bool:
    """Whether some steps are skipped by all devices, not only by slow ones."""
    return any(
        all(assignment.stride > 1 for assignment in segment.assignments if assignment.rows.count)
        for segment in plan.segments
    )


def _model(model: ModelFacts) -> str:
    return f"{model.name} {model.dtype}{' offloaded' if model.offloaded else ''}"


def _memory(view: AgentView) -> str:
    device = view.device
    if device.memory_limit_bytes is None:
        return f"{device.memory_total_bytes / _GIB:.1f} GiB"
    return f"limit {device.memory_limit_bytes / _MIB:.0f} MiB"


def _psnr(prediction: Prediction) -> str:
    if prediction.psnr_db is None:
        return "-"
    return "same" if prediction.psnr_db >= IDENTICAL_PSNR_DB else f"{prediction.psnr_db:.1f}"


def _speed(view: AgentView) -> str:
    speed = view.device.emulated_speed
    return "its own" if speed is None else f"emulated {speed:g}"
