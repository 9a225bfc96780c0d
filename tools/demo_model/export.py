"""Writes the trained parts as one diffusers pipeline folder, float16 safetensors.

Owns the folder's layout and its size limit. Must not train or judge.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer

from demo_model.data import COLOURS, NAMES
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE

LIMIT_BYTES = 20 * 10**6
FUNCTION_WORDS = ("a", "an", "and", "background", "of", "on", "the", "with")
"""Of captions: they name nothing by themselves, and neither do colours."""


class ExportError(ValueError):
    """The exported folder breaks a promise of the model card."""


def export_pipeline(pipeline: DiffusionPipeline, folder: Path) -> int:
    """Write the pipeline into ``folder``, over an older one, and return its size in bytes.

    Raises:
        ExportError: The files together are larger than 20 MB.
    """
    pipeline.to(torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for name in ("config.json", "model_index.json"):
        for path in folder.rglob(name):
            config = json.loads(path.read_text())
            config.pop("_name_or_path", None)  # where it was trained is nobody's business
            path.write_text(json.dumps(config, indent=2) + "\n")
    tokenizer: Any = pipeline.components["tokenizer"]
    if isinstance(tokenizer, CLIPTokenizer):
        # vocab.json and merges.txt beside tokenizer.json: what readers of published CLIP folders look for.
        tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))
    write_known_words(folder)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes for its owner alone; agents may run as somebody else
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size_bytes > LIMIT_BYTES:
        raise ExportError(f"folder: {folder} holds {size_bytes} bytes, the limit is {LIMIT_BYTES}")
    return size_bytes


def write_known_words(folder: Path) -> None:
    """Write what the model may be asked for, which an agent reads to tell of a prompt that names none of it."""
    known = {"subjects": NAMES, "other_words": (*FUNCTION_WORDS, *COLOURS)}
    (folder / KNOWN_WORDS_FILE).write_text(json.dumps(known, indent=1) + "\n")
