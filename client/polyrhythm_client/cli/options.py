"""The options that several commands share, with the help that teaches them. Each is written once, here.

``cli.command`` makes a command of dataclasses of options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from polyrhythm.job.image import PROMPT_CHARACTERS_MAX, Objective, Quality
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.process.environment import ADDRESS_VARIABLE
from polyrhythm_client.cli.command import Use, use_of
from polyrhythm_client.local.variables import MODEL_VARIABLE

PICTURE = "The picture"
FLEET = "The fleet"
OUTPUT = "Output"
EXPERT = "Instead of the planner"

# Never the choices as metavar: on 80 columns they are broken in the middle of a name.


def picture(metavar: str | None, explained: str) -> Any:
    """An option of the picture."""
    return typer.Option(metavar=metavar, help=explained, rich_help_panel=PICTURE)


def fleet(metavar: str | None, explained: str) -> Any:
    """An option of the fleet."""
    return typer.Option(metavar=metavar, help=explained, rich_help_panel=FLEET)


def expert(metavar: str, explained: str) -> Any:
    """An option that takes a decision from the planner."""
    return typer.Option(metavar=metavar, help=explained, rich_help_panel=EXPERT)


def output(*names: str, metavar: str, explained: str) -> Any:
    """An option of what is written."""
    return typer.Option(*names, metavar=metavar, help=explained, rich_help_panel=OUTPUT)


ASKED = ("generate", "plan")
"""Commands that ask a fleet for a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """The options that describe a picture, as written; None stands for not given."""

    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help='What to paint; "" for nothing in particular. May be left out with --plan, which brings its own.',
        ),
        Use(commands=ASKED),
    ] = None
    model: Annotated[
        str | None,
        picture(
            None,
            "Name of a model that the fleet holds; for a fleet of this command's own: demo-unet, a folder in diffusers "
            "format, a .safetensors checkpoint or ORG/NAME of the Hugging Face hub; default: "
            f"{MODEL_VARIABLE}, else demo-unet.",
        ),
        Use(commands=ASKED),
    ] = None
    negative: Annotated[str | None, picture("TEXT", "What to avoid."), Use(commands=ASKED, field="negative_prompt")] = (
        None
    )
    long_prompt: Annotated[
        LongPrompt | None,
        picture(
            "NAME",
            "What becomes of a prompt of more tokens than the model reads: refuse (default); cut: its end is left out, "
            "as diffusers does it; chunk: it is encoded window by window, words of fewer than 8 tokens kept whole, by "
            f"models with CLIP alone. More than {PROMPT_CHARACTERS_MAX} characters are always refused.",
        ),
        Use(commands=ASKED),
    ] = None
    size: Annotated[str | None, picture("WxH", "Pixels, such as 128x192; default: the model's own.")] = None
    steps: Annotated[int | None, picture("N", "Denoising steps: more take longer; default: the model's.")] = None
    seed: Annotated[
        int | None,
        picture("N", "Of the initial noise: the same seed and plan give the same file."),
        Use(commands=("generate",)),
    ] = None
    guidance: Annotated[
        float | None, picture("X", "How closely to follow the prompt; 1 and less ignore the negative prompt.")
    ] = None
    sampler: Annotated[
        Sampler | None,
        picture(
            "NAME",
            "Update rule: ddim, dpmpp-2m, euler, euler-ancestral, flow-euler, lcm or tcd; default: the model's. With "
            "euler-ancestral and lcm no device skips steps; flow-euler is for models of flow matching alone.",
        ),
    ] = None
    quality: Annotated[
        Quality | None,
        picture(
            "NAME",
            "How far the picture may leave the single-device one for speed: exact not at all, high by activations that "
            "are a step old, balanced (default) lets slower devices skip steps and never the fastest, fast all.",
        ),
    ] = None
    objective: Annotated[
        Objective | None,
        picture(
            "NAME",
            "latency (default): as soon as possible, by all devices or, where several pictures wait, each by one if "
            "that is sooner; throughput: each picture by one device, the others stay free for what comes.",
        ),
    ] = None
    max_stride: Annotated[
        int | None,
        expert("1|2|4", "Largest number of steps that a device may take in one; 1 skips none."),
        Use(field="overrides.max_stride"),
    ] = None
    warmup: Annotated[
        int | None,
        expert("N", "Steps at the start in which all devices wait for each other."),
        Use(field="overrides.warmup_steps"),
    ] = None
    tail: Annotated[
        int | None, expert("N", "Last steps, at least, that no device skips."), Use(field="overrides.tail_steps")
    ] = None
    loss_db: Annotated[
        float | None,
        expert(
            "X",
            "Decibels that balanced or fast may lose by prediction against activations that are a step old and no "
            "skipped steps, on a calibrated model; default: 1 for balanced, 3 for fast.",
        ),
        Use(field="overrides.loss_db"),
    ] = None
    devices: Annotated[
        str | None,
        expert("A,B,...", "Agents that may take part; default: all."),
        Use(commands=ASKED, field="overrides.devices"),
    ] = None
    count: Annotated[int | None, picture("N", "Pictures to make, with seeds counting up.")] = None


@cache
def request_fields() -> Mapping[str, str]:
    """The field of a request that each option of the picture sets, as a path, by the option's name."""
    annotations = get_type_hints(ImageOptions, include_extras=True)
    return {option.name: use_of(annotations[option.name]).field or option.name for option in fields(ImageOptions)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """The options that say which fleet works, as written; all but the address are for one of the command's own."""

    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            envvar=ADDRESS_VARIABLE,
            help="Coordinator to ask, HOST:PORT or unix:/PATH; default: the one on 127.0.0.1:50051 if it answers, else "
            "a fleet of this command's own on this machine.",
            rich_help_panel=FLEET,
        ),
        Use(commands=ASKED),
    ] = None
    speeds: Annotated[
        str | None,
        fleet(
            "A,B,...",
            "Start a fleet of CPU agents at these emulated shares of the true speed, a core each: 1,0.5 stands for a "
            "device and one half as fast.",
        ),
    ] = None
    gpus: Annotated[
        str | None,
        fleet(
            "A,B,...",
            "CUDA devices of a fleet of this command's own, by number or UUID, an agent each; default: all.",
        ),
    ] = None
    model_config: Annotated[
        Path | None,
        fleet(
            "FOLDER",
            "Configs and tokenizers of a checkpoint file, for a fleet of this command's own; default: a folder beside "
            "it, else those that are known.",
        ),
    ] = None
    dtype: Annotated[
        DtypeChoice | None,
        fleet(
            "TYPE",
            "Arithmetic of a fleet of this command's own: float32, bfloat16, float16 or float64; default: auto, by the "
            "device.",
        ),
    ] = None
    offload: Annotated[
        OffloadChoice | None,
        fleet(
            "WHEN",
            "Whether a fleet of this command's own keeps the denoiser's weights outside of the devices' memory: never, "
            "always or auto (default), where they would not fit.",
        ),
    ] = None

    @property
    def of_own_fleet(self) -> tuple[str, ...]:
        """Names of the options that were given and mean a fleet of the command's own."""
        given = (name for name, value in asdict(self).items() if value is not None)
        return tuple(name.replace("_", "-") for name in given if name != "address")

    @property
    def loading(self) -> Mapping[str, object]:
        """Options of ``polyrhythm-agent`` that say how the model is loaded; None where nothing was given."""
        return {"model_config": self.model_config, "dtype": self.dtype, "offload": self.offload}


PlanFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="Make a picture again: a PNG that polyrhythm made, or the JSON of `polyrhythm plan --json`. Settings are "
        "taken from the file unless given here.",
        rich_help_panel=PICTURE,
    ),
]
RunningAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        envvar=ADDRESS_VARIABLE,
        help="Coordinator to ask, HOST:PORT or unix:/PATH; default: 127.0.0.1:50051, where polyrhythm up listens.",
        rich_help_panel=FLEET,
    ),
]
AsJson: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on standard output instead; one with the field error where the command fails.",
        rich_help_panel=OUTPUT,
    ),
]
