"""How the agents of a fleet come, load, get lost and leave service, change by change. Pure; others ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentChange:
    """An agent has changed its state since it was looked at before.

    Attributes:
        agent: its name.
        view: its state now; None where it is not connected any more.
        message: that in words, such as ``loading the model``.
        trouble: whether something is wrong with it.
    """

    agent: AgentId
    view: AgentView | None
    message: str
    trouble: bool


def is_loaded(view: AgentView) -> bool:
    """Whether its worker holds the model."""
    return view.state is not AgentState.LOADING


def changes(before: Mapping[AgentId, AgentView], now: Iterable[AgentView]) -> tuple[AgentChange, ...]:
    """What has changed, by name; that an agent begins or ends to measure or to work on a picture is no change.

    Args:
        before: agents as they were.
        now: agents as they are.
    """
    present = {view.name: view for view in now}
    found = [
        AgentChange(agent=name, view=view, message=_message(view), trouble=bool(view.trouble))
        for name, view in sorted(present.items())
        if name not in before or _message(before[name]) != _message(view)
    ]
    gone = sorted(name for name in before if name not in present)
    found += [
        AgentChange(agent=name, view=None, message="lost: it is not connected any more", trouble=True) for name in gone
    ]
    return tuple(found)


def _message(view: AgentView) -> str:
    match view.state:
        case AgentState.LOADING if view.trouble:
            return f"lost its worker, and starts another one: {view.trouble}"
        case AgentState.LOADING:
            return "loading the model"
        case AgentState.DRAINING:
            return "draining: out of service as soon as its picture lets it go"
        case AgentState.DRAINED:
            return "drained: out of service"
        case AgentState.READY | AgentState.MEASURING | AgentState.WORKING:
            return f"ready: {_device(view)}"
        case _:
            assert_never(view.state)


def _device(view: AgentView) -> str:
    models = ", ".join(model.name for model in view.models)
    speed = view.device.emulated_speed
    emulated = "" if speed is None else f", emulated speed {speed:g}"
    return f"{view.device.kind} {view.device.name}{emulated}, model {models}"
