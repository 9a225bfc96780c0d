"""The account of a picture as one JSON object, and as one line for people. Measured figures but for the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyrhythm.fleet import AgentView
from polyrhythm.job.events import ReplanReason
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.plan.gang_plan import followed_segments, steps_taken
from polyrhythm.plan.plan import Plan
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
    """What ``--json`` prints for an agent; of calibrations, it is told which there are."""
    account = asdict(view)
    for model in account["models"]:
        del model["calibrations"]
    return account


def picture_summary(picture: Picture, image: ImageSpec, path: Path) -> dict[str, Any]:
    """What ``polyrhythm generate --json`` prints for one picture.

    Args:
        picture: as it came.
        image: what was asked for, defaults filled in.
        path: of the file.
    """
    report = picture.report
    predicted = {"denoise": report.predicted_denoise_s}
    if picture.explanation is not None:
        prediction = picture.explanation.chosen.prediction
        predicted |= {"encode": prediction.encode_s, "decode": prediction.decode_s}
    return {
        "image": str(path),
        "job": report.job,
        "image_index": report.image_index,
        "model": image.model,
        "prompt": image.prompt,
        "negative_prompt": image.negative_prompt,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "steps": image.steps,
        "seed": report.seed,
        "guidance": image.guidance,
        "sampler": image.sampler,
        "quality": image.quality,
        "emulated": is_emulated(report),
        "notices": [] if picture.explanation is None else list(picture.explanation.notices),
        "seconds": {
            "queued": report.queued_s,
            "encode": report.encode_s,
            "denoise": report.denoise_s,
            "decode": report.decode_s,
        },
        "predicted_seconds": predicted,
        "steps_taken": steps_account(report.plans),
        "replans": {reason.value: count for reason, count in picture.replans.items()},
        "segments": [asdict(segment) for segment in followed_segments(report.plans)],
        "agents": [_agent(usage) for usage in report.agents],
        "versions": dict(report.versions),
    }


def measured_fleet(picture: Picture, agents: tuple[AgentView, ...]) -> dict[str, Any]:
    """What the plan rested on: the model, each device, its cost and the links as measured by then.

    ``polyrhythm simulate --fit`` describes a fleet from it.

    Args:
        picture: as it came.
        agents: of the fleet.
    """
    members = {usage.agent for usage in picture.report.agents}
    fingerprints = {value for name, value in picture.report.versions if name.startswith("model ")}
    offered = [model for view in agents if view.agent in members for model in view.models]
    facts = next((model for model in offered if model.fingerprint in fingerprints), None)
    explanation = picture.explanation
    return {
        "model": None if facts is None else asdict(facts),
        "profiles": [] if explanation is None else [asdict(profile) for profile in explanation.profiles],
        "links": [] if explanation is None else [asdict(link) for link in explanation.links],
        "devices": [_device(view, fingerprints) for view in agents],
    }


def _device(view: AgentView, fingerprints: set[str]) -> dict[str, Any]:
    """What a device is, and in which arithmetic it computes."""
    device = view.device
    dtypes = [model.dtype for model in view.models if model.fingerprint in fingerprints]
    return {
        "agent": view.agent,
        "card": device.name,
        "kind": device.kind,
        "host": device.host,
        "dtype": dtypes[0] if dtypes else "",
        "emulated_speed": device.emulated_speed,
        "memory_bytes": device.memory_limit_bytes or device.memory_total_bytes,
    }


def picture_line(picture: Picture, image: ImageSpec, path: Path) -> str:
    """One line about a finished picture."""
    report = picture.report
    seconds = report.encode_s + report.denoise_s + report.decode_s
    names = ", ".join(usage.agent for usage in report.agents)
    emulated = " (emulated speeds)" if is_emulated(report) else ""
    return (
        f"{path}: {image.width_px}x{image.height_px}, {steps_taken(report.plans)}, seed {report.seed}, "
        f"{seconds:.2f} s on {names}{emulated}{replans_told(picture.replans)}"
    )


def replans_told(replans: Mapping[ReplanReason, int]) -> str:
    """Newer plans that a picture followed, by reason, for the end of a line about it; empty where there were none.

    Args:
        replans: by reason.
    """
    if not replans:
        return ""
    why = ", ".join(f"{_REPLAN_WORDS[reason]} {count}" for reason, count in replans.items())
    return f", re-plans: {sum(replans.values())} ({why})"


def steps_account(plans: Sequence[Plan]) -> dict[str, int]:
    """How many steps fast and slow rows took, for files."""
    taken = steps_taken(plans)
    return {"fast_rows": taken.fast_rows, "slow_rows": taken.slow_rows}


def is_emulated(report: JobReport) -> bool:
    """Whether any agent that took part ran at an emulated speed."""
    return any(usage.emulated for usage in report.agents)


def _agent(usage: AgentUsage) -> dict[str, Any]:
    return {
        "agent": usage.agent,
        "device": usage.device,
        "emulated": usage.emulated,
        "rows": [
            {"begin_step": begin_step, "end_step": end_step, "begin": begin, "end": end, "stride": stride}
            for begin_step, end_step, begin, end, stride in usage.rows
        ],
        "steps": usage.steps,
        "busy_s": usage.busy_s,
        "wait_s": usage.wait_s,
        "bytes_sent": usage.sent_bytes,
        "corrections": usage.corrections,
    }
