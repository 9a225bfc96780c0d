"""Options of the simulator: what there is, what goes together, and the pictures that they ask for.

A described fleet, cards or a run's report: each source takes options of its own, and one that would have no effect is
refused by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.job.image import ImageRequest, Objective, Overrides, Quality
from polyrhythm.job.request_checks import check_request
from polyrhythm.model.request_choices import Sampler

PROGRAM = "python -m polyrhythm_coordinator.simulation"
DESCRIPTION = """Command line of the simulator: a described fleet in, one JSON object on standard output.

``polyrhythm simulate`` starts this and shows its result; it can be used without the client."""
CHART_SUFFIX = ".png"
SOURCES = ("devices", "fit", "cards")
OF_PICTURES = (
    *("width", "height", "steps", "guidance", "sampler", "quality", "objective", "count"),
    *("max_stride", "warmup", "tail", "loss_db", "gantt"),
)
"""Options that say which pictures are simulated and how they are shown: without effect where none are."""


def option_parser() -> argparse.ArgumentParser:
    """Every option; None stands for one that is not given."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--devices", type=Path, metavar="FILE", help="fleet.toml; see docs/simulate.md")
    add("--fit", type=Path, metavar="REPORT", help="describe a fleet from a run's JSON instead")
    add("--cards", metavar="A,B,...", help="cards by their data sheets instead; with --model-preset")
    add("--model-preset", metavar="NAME", help="with --cards: the model, by its architecture")
    add("--output", type=Path, metavar="FILE", help="with --fit or --cards: the fleet.toml to write")
    add("--width", type=int, metavar="PX", help="of the picture; default: the model's")
    add("--height", type=int, metavar="PX", help="of the picture; default: the model's")
    add("--steps", type=int, metavar="N", help="denoising steps; default: the model's")
    add("--guidance", type=float, metavar="X", help="1 halves the batch; default: the model's")
    add("--sampler", choices=[sampler.value for sampler in Sampler], help="default: the model's")
    add("--quality", choices=[quality.value for quality in Quality], help="default: balanced")
    add("--objective", choices=[objective.value for objective in Objective], help="default: latency")
    add("--count", type=int, metavar="N", help="pictures to make (default 1)")
    add("--max-stride", type=int, metavar="1|2|4", help="largest number of steps that a device may take in one")
    add("--warmup", type=int, metavar="N", help="steps at the start in which all devices wait for each other")
    add("--tail", type=int, metavar="N", help="last steps, at least, that no device skips")
    add("--loss-db", type=float, metavar="X", help="decibels that balanced or fast may lose, on a calibrated model")
    add("--gantt", type=Path, metavar="FILE", help="also draw the timeline into this PNG file")
    return parser


def check_options(options: argparse.Namespace) -> None:
    """Checks that the options go together, and that each has an effect.

    Raises:
        InvalidArgumentError: names every option that does not.
    """
    if sum(getattr(options, source) is not None for source in SOURCES) != 1:
        raise InvalidArgumentError.of(
            "devices", "name either a fleet to simulate, or --cards, or with --fit a report to describe"
        )
    found = [FieldViolation(field=field, description=told) for field, told in _contradictions(options)]
    if found:
        raise InvalidArgumentError(*found)


def _contradictions(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if (options.cards is None) != (options.model_preset is None):
        yield "model-preset", "goes with --cards, which needs it"
    if options.devices is not None and options.output is not None:
        yield "output", "goes with --fit or --cards"
    if options.gantt is not None and options.gantt.suffix.lower() != CHART_SUFFIX:
        yield "gantt", f"charts are PNG files: the name must end in {CHART_SUFFIX}, got {options.gantt}"
    if options.fit is None:
        return
    if options.output is None:
        yield "output", "is needed with --fit"
    given = (_shown(name) for name in OF_PICTURES if getattr(options, name) is not None)
    for name in dict.fromkeys(given):
        yield name, "has no effect with --fit, which describes a fleet and simulates nothing: leave it out"


def _shown(name: str) -> str:
    """An option as the user of `polyrhythm simulate` wrote it."""
    return "size" if name in {"width", "height"} else name.replace("_", "-")


def picture_request(options: argparse.Namespace) -> ImageRequest:
    """The pictures to simulate.

    Raises:
        InvalidArgumentError: no model makes them.
    """
    request = ImageRequest(
        prompt="simulated",
        width_px=options.width,
        height_px=options.height,
        steps=options.steps,
        guidance=options.guidance,
        sampler=None if options.sampler is None else Sampler(options.sampler),
        quality=None if options.quality is None else Quality(options.quality),
        objective=None if options.objective is None else Objective(options.objective),
        count=1 if options.count is None else options.count,
        overrides=Overrides(
            max_stride=options.max_stride,
            warmup_steps=options.warmup,
            tail_steps=options.tail,
            loss_db=options.loss_db,
        ),
    )
    check_request(request)
    return request
