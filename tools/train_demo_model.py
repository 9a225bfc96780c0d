"""Trains, exports and evaluates the small text-to-image model that ships with Polyrhythm.

Training draws its own pictures (emoji on coloured backgrounds), so it needs the Debian package
fonts-noto-color-emoji and nothing else. It can be stopped at any time and goes on from its last checkpoint.

    python tools/train_demo_model.py --work-dir build/demo-model
    python tools/train_demo_model.py --work-dir build/demo-model --export models/demo
    python tools/train_demo_model.py --evaluate models/demo
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from demo_model.autoencoder import centre_and_scale, measure, train_autoencoder
from demo_model.card import write_card
from demo_model.checkpoint import load_checkpoint
from demo_model.denoiser import Recipe, Stage, Training, train_denoiser
from demo_model.evaluate import evaluate
from demo_model.export import export_pipeline
from demo_model.restart import restart_from
from demo_model.text import CaptionTable, TokenTable, new_tokenizer
from demo_model.text_training import ready_text_encoder
from diffusers import AutoencoderKL

CALIBRATION_SEED = 99
SMALL_BATCH = 64
LARGE_BATCH = 32


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("build/demo-model"), help="checkpoints live here")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--export", type=Path, metavar="FOLDER", help="write the newest checkpoint as a model folder")
    action.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure a model folder and draw its grids")
    action.add_argument("--start-from", type=Path, metavar="FOLDER", help="fill an empty work folder from an export")
    parser.add_argument("--start-step", type=int, default=0, help="step of the recipe at which --start-from begins")
    parser.add_argument("--autoencoder-steps", type=int, default=2600)
    parser.add_argument("--small-steps", type=int, default=4200, help="denoiser steps on 64 px pictures")
    parser.add_argument("--steps", type=int, default=6200, help="denoiser steps in all; the rest is on 128 px")
    parser.add_argument("--decay-steps", type=int, default=1200, help="steps of the final decay to zero")
    parser.add_argument("--peak-rate", type=float, default=3e-3, help="the denoiser's learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The denoiser's recipe as the command line has it."""
    return Recipe(
        stages=(
            Stage(size_px=64, batch=SMALL_BATCH, end_step=arguments.small_steps),
            Stage(size_px=128, batch=LARGE_BATCH, end_step=arguments.steps),
        ),
        peak_rate=arguments.peak_rate,
        decay_steps=arguments.decay_steps,
        seed=arguments.seed,
        save_every_s=180,
        threads=arguments.threads,
    )


def ready_autoencoder(arguments: argparse.Namespace) -> AutoencoderKL:
    """The trained autoencoder, trained first if need be."""
    folder = arguments.work_dir / "vae"
    if not folder.is_dir():
        vae = train_autoencoder(
            arguments.work_dir, steps=arguments.autoencoder_steps, seed=arguments.seed, save_every_s=90
        )
        centre_and_scale(vae, seed=CALIBRATION_SEED)
        print("autoencoder", json.dumps(measure(vae, seed=CALIBRATION_SEED + 1)), flush=True)
        vae.save_pretrained(folder)
    vae = AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    vae.requires_grad_(requires_grad=False)
    return vae


def main() -> None:
    """Do what the command line asks for."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate is not None:
        numbers = evaluate(arguments.evaluate)
        (arguments.evaluate / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n")
        write_card(arguments.evaluate, numbers, small_batch=SMALL_BATCH, large_batch=LARGE_BATCH)
        print(json.dumps(numbers, indent=2))
        return
    if arguments.start_from is not None:
        restart_from(
            arguments.start_from,
            arguments.work_dir,
            step=arguments.start_step,
            seed=arguments.seed,
            peak_rate=arguments.peak_rate,
        )
        return
    vae = ready_autoencoder(arguments)
    tokenizer = new_tokenizer()
    text_encoder = ready_text_encoder(arguments.work_dir, tokenizer, seed=arguments.seed)
    if arguments.export is None:
        captions = CaptionTable(text_encoder, TokenTable(tokenizer))
        train_denoiser(arguments.work_dir, vae, captions, recipe_of(arguments))
        return
    training = Training.start(arguments.seed, arguments.peak_rate)
    step = load_checkpoint(arguments.work_dir / "denoiser.pt", training.parts())
    size_bytes = export_pipeline(vae, text_encoder, training.average.module, arguments.export)
    print(f"exported step {step}: {size_bytes} bytes in {arguments.export}")


if __name__ == "__main__":
    main()
