"""Writes the demo model's card from what was measured.

The words are in the family's ``card*.md``. Every number that depends on the trained weights comes from the
evaluation, none is typed there.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from demo_model.data import COLOURS, NAMES, caption
from demo_model.evaluate import DIVERSITY_SEEDS, FIRST_SEED, held_out_pairs, listed_pairs
from demo_model.family import Family


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _bullets(lines: list[str]) -> str:
    return "; ".join(lines) if lines else "none"


def write_card(family: Family, folder: Path, numbers: dict[str, Any]) -> None:
    """Write ``README.md`` into the model's folder."""
    listed, held_out, diversity = numbers["listed"], numbers["held_out"], numbers["mean_pairwise_psnr_db"]
    schedule = family.schedule
    text = family.card_template.read_text().format(
        names=len(NAMES),
        colours=len(COLOURS),
        steps=numbers["steps"],
        prompts=listed["prompts"],
        guidance=numbers["guidance"],
        first_seed=FIRST_SEED,
        right_name=_share(listed["right_name"]),
        right_colour=_share(listed["right_colour"]),
        held_out_name=_share(held_out["right_name"]),
        held_out_colour=_share(held_out["right_colour"]),
        held_out_count=len(NAMES),
        diversity_seeds=DIVERSITY_SEEDS,
        diversity_prompts=len(diversity),
        psnr_db=f"{fmean(diversity.values()):.1f}",
        psnr_list="; ".join(f"{text} {value:.1f} dB" for text, value in diversity.items()),
        weighted_loss=numbers["weighted_loss"],
        plain_loss=numbers["plain_loss"],
        vae_psnr_db=numbers["autoencoder_psnr_db"],
        missed=_bullets(listed["missed"]),
        name_list=", ".join(NAMES),
        colour_list=", ".join(COLOURS),
        prompt_list=_bullets([caption(*pair) for pair in listed_pairs()]),
        held_out_list=_bullets([caption(*pair) for pair in held_out_pairs()]),
        small_batch=schedule.small_batch,
        large_batch=schedule.large_batch,
        small_steps=schedule.small_steps,
        large_steps=schedule.steps - schedule.small_steps,
        decay_steps=schedule.decay_steps,
        peak_rate=schedule.peak_rate,
    )
    (folder / "README.md").write_text(text)
