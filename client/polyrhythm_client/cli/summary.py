"""The account of a picture as one JSON object, and as one line for people. Measured figures but for the prediction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyrhythm.fleet import AgentView
from polyrhythm.job.events import ReplanReason
from polyrhythm.job.reports import JobReport
from polyrhythm.plan.gang_plan import followed_segments, steps_taken
from polyrhythm_client.pictures import Picture

_REPLAN_WORDS = {
    ReplanReason.SPEED_CHANGED: "speed",
    ReplanReason.AGENT_LOST: "lost",
    ReplanReason.AGENT_JOINED: "joined",
    ReplanReason.AGENT_DRAINED: "drained",
    ReplanReason.EPOCH_FAILED: "failed",
    ReplanReason.OUT_OF_MEMORY: "memory",
}


def agent_account(view: AgentView) -> dict[str, Any]:
    """What ``--json`` prints for an agent; of its calibrations only which there are."""
    account = asdict(view)
    for model in account["models"]:
        del model["calibrations"]
    return account


def picture_summary(picture: Picture, path: Path) -> dict[str, Any]:
    """What ``polyrhythm generate --json`` prints for one picture.

    Args:
        picture: as it came.
        path: of the file.
    """
    report, image = picture.report, picture.spec
    asked = ("model", "prompt", "negative_prompt", "width_px", "height_px", "steps", "seed", "guidance", "sampler")
    taken, predicted = steps_taken(report.plans), {"denoise": report.predicted_denoise_s}
    if picture.explanation is not None:
        prediction = picture.explanation.chosen.prediction
        predicted |= {"encode": prediction.encode_s, "decode": prediction.decode_s}
    return {
        "image": str(path),
        "job": report.job,
        "image_index": report.image_index,
        **{name: getattr(image, name) for name in asked},
        "quality": image.quality,
        "emulated": is_emulated(report),
        "notices": [] if picture.explanation is None else list(picture.explanation.notices),
        "seconds": {name: getattr(report, f"{name}_s") for name in ("queued", "encode", "denoise", "decode")},
        "predicted_seconds": predicted,
        "steps_taken": {"fast_rows": taken.fast_rows, "slow_rows": taken.slow_rows},
        "replans": {reason.value: count for reason, count in picture.replans.items()},
        "segments": [asdict(segment) for segment in followed_segments(report.plans)],
        "agents": [{**asdict(usage), "emulated": usage.emulated} for usage in report.agents],
        "fingerprint": report.fingerprint,
    }


def measured_fleet(picture: Picture, agents: Collection[AgentView]) -> dict[str, Any]:
    """What the plan rested on: the model, each device, its cost and the links as measured by then.

    ``polyrhythm simulate --fit`` describes a fleet from it.

    Args:
        picture: as it came.
        agents: of the fleet.
    """
    members, fingerprint = {usage.agent for usage in picture.report.agents}, picture.report.fingerprint
    offered = [model for view in agents if view.name in members for model in view.models]
    facts = next((model for model in offered if model.fingerprint == fingerprint), None)
    explanation = picture.explanation
    return {
        "model": None if facts is None else asdict(facts),
        "profiles": [] if explanation is None else [asdict(profile) for profile in explanation.profiles],
        "links": [] if explanation is None else [asdict(link) for link in explanation.links],
        "devices": [_device(view, fingerprint) for view in agents],
    }


def _device(view: AgentView, fingerprint: str) -> dict[str, Any]:
    """What a device is, and in which arithmetic it computes."""
    device = view.device
    dtypes = [model.dtype for model in view.models if model.fingerprint == fingerprint]
    return {
        "agent": view.name,
        "card": device.name,
        "kind": device.kind,
        "host": device.host,
        "dtype": dtypes[0] if dtypes else "",
        "emulated_speed": device.emulated_speed,
        "memory_bytes": device.memory_limit_bytes or device.memory_total_bytes,
    }


def picture_line(picture: Picture, path: Path) -> str:
    """One line about a finished picture."""
    report, image = picture.report, picture.spec
    names = ", ".join(usage.agent for usage in report.agents)
    emulated = " (emulated speeds)" if is_emulated(report) else ""
    return (
        f"{path}: {image.width_px}x{image.height_px}, {steps_taken(report.plans)}, seed {report.seed}, "
        f"{picture.making_s:.2f} s on {names}{emulated}{replans_message(picture.replans)}"
    )


def replans_message(replans: Mapping[ReplanReason, int]) -> str:
    """Newer plans that a picture followed, by reason, for the end of a line about it; empty where there were none.

    Args:
        replans: by reason.
    """
    if not replans:
        return ""
    reasons = ", ".join(f"{_REPLAN_WORDS[reason]} {count}" for reason, count in replans.items())
    return f", re-plans: {sum(replans.values())} ({reasons})"


def is_emulated(report: JobReport) -> bool:
    """Whether any agent that took part ran at an emulated speed."""
    return any(usage.emulated for usage in report.agents)
