"""Trains, exports and evaluates the small text-to-image models that ship with Polyrhythm.

There are two, on the same pictures and with the same autoencoder: PixArt's transformer (models/demo-transformer) and
the UNet of Stable Diffusion (models/demo-unet). Training draws its own pictures (emoji on coloured backgrounds), so it
needs the Debian package fonts-noto-color-emoji and nothing else. It can be stopped at any time and goes on from its
last checkpoint; where no checkpoint was kept, from an exported folder.

    python tools/train_demo_model.py --work-dir build/demo-model
    python tools/train_demo_model.py --work-dir build/demo-model --export models/demo-transformer
    python tools/train_demo_model.py --evaluate models/demo-transformer

    python tools/train_demo_model.py --family unet --work-dir build/demo-unet \
        --autoencoder-from models/demo-transformer
    python tools/train_demo_model.py --family unet --work-dir build/demo-unet --export models/demo-unet
    python tools/train_demo_model.py --evaluate models/demo-unet
    python tools/train_demo_model.py --family unet --work-dir build/again --init-from models/demo-unet --init-step 3000
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from demo_model.autoencoder import ready_autoencoder
from demo_model.card import write_card
from demo_model.checkpoint import load_checkpoint
from demo_model.denoiser import Recipe, Stage, Training, train_denoiser
from demo_model.evaluate import evaluate
from demo_model.export import export_pipeline
from demo_model.families import FAMILIES, family_of
from demo_model.family import Family
from demo_model.restart import restart_from
from demo_model.text import CaptionTable
from demo_model.text_folder import ready_text_encoder


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="pixart", help="the architecture")
    parser.add_argument("--work-dir", type=Path, default=Path("build/demo-model"), help="checkpoints live here")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--export", type=Path, metavar="FOLDER", help="write the newest checkpoint as a model folder")
    action.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure a model folder and draw its grids")
    action.add_argument("--init-from", type=Path, metavar="FOLDER", help="fill an empty work folder from an export")
    parser.add_argument("--prompts", type=int, default=64, help="how many of each list --evaluate draws; all are 64")
    parser.add_argument("--init-step", type=int, default=0, help="step of the recipe at which --init-from begins")
    parser.add_argument("--autoencoder-from", type=Path, metavar="FOLDER", help="model whose autoencoder is taken over")
    parser.add_argument("--autoencoder-steps", type=int, default=2600)
    parser.add_argument("--small-steps", type=int, help="denoiser steps on 64 px pictures")
    parser.add_argument("--steps", type=int, help="denoiser steps in all; the rest is on 128 px")
    parser.add_argument("--decay-steps", type=int, help="steps of the final decay to zero")
    parser.add_argument("--peak-rate", type=float, help="the denoiser's learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def recipe_of(arguments: argparse.Namespace, family: Family) -> Recipe:
    """The denoiser's recipe: the family's own, apart from what the command line says."""
    schedule = family.schedule

    def chosen(name: str) -> float:
        value = getattr(arguments, name)
        return getattr(schedule, name) if value is None else value

    return Recipe(
        stages=(
            Stage(size_px=64, batch=schedule.small_batch, end_step=int(chosen("small_steps"))),
            Stage(size_px=128, batch=schedule.large_batch, end_step=int(chosen("steps"))),
        ),
        peak_rate=chosen("peak_rate"),
        decay_steps=int(chosen("decay_steps")),
        seed=arguments.seed,
        save_every_s=180,
        threads=arguments.threads,
    )


def evaluate_folder(folder: Path, prompts: int) -> None:
    """Measure the model in ``folder``; write its numbers, its pictures and its card there."""
    family = family_of(folder)
    numbers = evaluate(family, folder, prompts=prompts)
    (folder / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n")
    write_card(family, folder, numbers)
    print(json.dumps(numbers, indent=2))


def train(arguments: argparse.Namespace, family: Family) -> None:
    """Train what is not trained yet, or export it."""
    recipe = recipe_of(arguments, family)
    work_dir: Path = arguments.work_dir
    vae = ready_autoencoder(
        work_dir, taken_from=arguments.autoencoder_from, steps=arguments.autoencoder_steps, seed=arguments.seed
    )
    tokenizer = family.new_tokenizer()
    text_encoder = ready_text_encoder(family, work_dir, tokenizer, seed=arguments.seed, threads=arguments.threads)
    if arguments.export is None:
        captions = CaptionTable(text_encoder, family.token_table(tokenizer))
        train_denoiser(family, work_dir, vae, captions, recipe)
        return
    training = Training.start(family, recipe.seed, recipe.peak_rate)
    step = load_checkpoint(work_dir / "denoiser.pt", training.parts())
    size_bytes = export_pipeline(family.new_pipeline(vae, text_encoder, training.average.module), arguments.export)
    print(f"exported step {step}: {size_bytes} bytes in {arguments.export}")


def main() -> None:
    """Do what the command line asks for."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    family = FAMILIES[arguments.family]
    if arguments.evaluate is not None:
        evaluate_folder(arguments.evaluate, arguments.prompts)
    elif arguments.init_from is not None:
        recipe = recipe_of(arguments, family)
        restart_from(family, arguments.init_from, arguments.work_dir, step=arguments.init_step, recipe=recipe)
    else:
        train(arguments, family)


if __name__ == "__main__":
    main()
