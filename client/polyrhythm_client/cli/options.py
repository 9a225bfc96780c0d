"""The options that several commands share, with the help that teaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from polyrhythm.job.image import PROMPT_CHARACTERS_MAX, LongPrompt, Objective, Quality, Sampler
from polyrhythm.model.loading_choices import DtypeChoice, OffloadChoice
from polyrhythm.process.environment import ADDRESS_VARIABLE
from polyrhythm_client.local.variables import MODEL_VARIABLE

PICTURE = "The picture"
FLEET = "The fleet"
OUTPUT = "Output"
EXPERT = "Instead of the planner"

Prompt: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help='What to paint; "" for nothing in particular. May be left out with --plan, which brings its own.',
    ),
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Name of a model that the fleet holds; for a fleet of this command's own: demo-unet, a folder in "
        "diffusers format, a .safetensors checkpoint or ORG/NAME of the Hugging Face hub; default: "
        f"{MODEL_VARIABLE}, else demo-unet.",
        rich_help_panel=PICTURE,
    ),
]
Negative: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What to avoid.", rich_help_panel=PICTURE)
]
LongPromptChoice: TypeAlias = Annotated[
    LongPrompt | None,
    typer.Option(
        "--long-prompt",
        metavar="NAME",
        help="What becomes of a prompt of more tokens than the model reads: refuse (default); cut: its end is left "
        "out, as diffusers does it; chunk: it is encoded window by window, words of fewer than 8 tokens kept whole, by "
        f"models with CLIP alone. More than {PROMPT_CHARACTERS_MAX} characters are always refused.",
        rich_help_panel=PICTURE,
    ),
]
Size: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Pixels, such as 128x192; default: the model's own.", rich_help_panel=PICTURE),
]
Steps: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Denoising steps: more take longer; default: the model's.", rich_help_panel=PICTURE),
]
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Of the initial noise: the same seed and plan give the same file.", rich_help_panel=PICTURE
    ),
]
Guidance: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="How closely to follow the prompt; 1 and less ignore the negative prompt.",
        rich_help_panel=PICTURE,
    ),
]
SamplerChoice: TypeAlias = Annotated[
    Sampler | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        # Not the choices as metavar: on 80 columns it is broken in the middle of a name.
        help="Update rule: ddim, dpmpp-2m, euler, euler-ancestral, flow-euler, lcm or tcd; default: the model's. With "
        "euler-ancestral and lcm no device skips steps; flow-euler is for models of flow matching alone.",
        rich_help_panel=PICTURE,
    ),
]
QualityChoice: TypeAlias = Annotated[
    Quality | None,
    typer.Option(
        "--quality",
        metavar="NAME",
        help="How far the picture may leave the single-device one for speed: exact not at all, high by activations "
        "that are a step old, balanced (default) lets slower devices skip steps and never the fastest, fast all.",
        rich_help_panel=PICTURE,
    ),
]
ObjectiveChoice: TypeAlias = Annotated[
    Objective | None,
    typer.Option(
        "--objective",
        metavar="NAME",
        help="latency (default): as soon as possible, by all devices or, where several pictures wait, each by one if "
        "that is sooner; throughput: each picture by one device, the others stay free for what comes.",
        rich_help_panel=PICTURE,
    ),
]
Count: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Pictures to make, with seeds counting up.", rich_help_panel=PICTURE),
]
MaxStride: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="1|2|4",
        help="Largest number of steps that a device may take in one; 1 skips none.",
        rich_help_panel=EXPERT,
    ),
]
Warmup: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Steps at the start in which all devices wait for each other.", rich_help_panel=EXPERT
    ),
]
Tail: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Last steps, at least, that no device skips.", rich_help_panel=EXPERT),
]
LossDb: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Decibels that balanced or fast may lose by prediction against activations that are a step old and no "
        "skipped steps, on a calibrated model; default: 1 for balanced, 3 for fast.",
        rich_help_panel=EXPERT,
    ),
]
Devices: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Agents that may take part; default: all.", rich_help_panel=EXPERT),
]
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
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        envvar=ADDRESS_VARIABLE,
        help="Coordinator to ask, HOST:PORT or unix:/PATH; default: the one on 127.0.0.1:50051 if it answers, else a "
        "fleet of this command's own on this machine.",
        rich_help_panel=FLEET,
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
Speeds: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Start a fleet of CPU agents at these emulated shares of the true speed, a core each: 1,0.5 stands for a "
        "device and one half as fast.",
        rich_help_panel=FLEET,
    ),
]
ModelConfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Configs and tokenizers of a checkpoint file, for a fleet of this command's own; default: a folder beside "
        "it, else those that are known.",
        rich_help_panel=FLEET,
    ),
]
Dtype: TypeAlias = Annotated[
    DtypeChoice | None,
    typer.Option(
        metavar="TYPE",
        help="Arithmetic of a fleet of this command's own: float32, bfloat16, float16 or float64; default: auto, by "
        "the device.",
        rich_help_panel=FLEET,
    ),
]
Offload: TypeAlias = Annotated[
    OffloadChoice | None,
    typer.Option(
        metavar="WHEN",
        help="Whether a fleet of this command's own keeps the denoiser's weights outside of the devices' memory: "
        "never, always or auto (default), where they would not fit.",
        rich_help_panel=FLEET,
    ),
]
Gpus: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="CUDA devices of a fleet of this command's own, by number or UUID, an agent each; default: all.",
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
