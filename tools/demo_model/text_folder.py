"""The trained text encoder of a working folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo_model.family import Family


def ready_text_encoder(family: Family, work_dir: Path, tokenizer: Any, *, seed: int, threads: int) -> Any:
    """The trained text encoder in ``work_dir``, trained first if need be; frozen."""
    folder = work_dir / "text_encoder"
    if not folder.is_dir():
        family.train_text_encoder(tokenizer, seed=seed, threads=threads).save_pretrained(folder)
    encoder = family.load_text_encoder(folder).eval()
    encoder.requires_grad_(requires_grad=False)
    return encoder
