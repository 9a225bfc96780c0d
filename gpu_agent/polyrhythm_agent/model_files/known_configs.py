"""Configs of the models that single-file checkpoints hold, so that these need no folder beside them. No torch.

Owns which model a file holds, and the folder that its configs make together with CLIP's vocabulary. The vocabulary is
the work of others and no part of this project: it comes from the hub
(docs/adr/0009-configs-of-checkpoints-are-known-their-vocabulary-is-fetched.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from polyrhythm_agent.model_files.checkpoint_file import DENOISER_PREFIX, CheckpointHeader
from polyrhythm_agent.model_files.checkpoint_spec import EPSILON, NOTICES_FILE, SD_1, base_of, said_by
from polyrhythm_agent.model_files.checkpoint_spec import SDXL as SDXL_BASE
from polyrhythm_agent.model_files.known_architectures import (
    SDXL,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    STABLE_DIFFUSION_2_BASE,
    Architecture,
)

VOCABULARY_FILES = ("vocab.json", "merges.txt")

TELLING_BIAS = f"{DENOISER_PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias"
SPREAD_BORDER = 0.09
"""Of the standard deviation of that bias's numbers: above it a Stable Diffusion 2.x file was trained to predict
velocity, below it noise. It was seen in the files that there are, and follows from nothing."""


def architecture_of(checkpoint: Path, header: CheckpointHeader) -> Architecture:
    """The model that a checkpoint's names and marks are those of.

    The two of Stable Diffusion 2.x have the same names. Without a mark they are told apart by a guess, which is said in
    a notice among the files.

    Args:
        checkpoint: the file.
        header: of it.

    Raises:
        ModelFolderError: it is none that can be read, or contradicts itself.
    """
    base, predicted = base_of(header), said_by(header).prediction
    if base in (SD_1, SDXL_BASE):
        return SDXL if base == SDXL_BASE else STABLE_DIFFUSION_1
    if predicted is not None:
        return STABLE_DIFFUSION_2_BASE if predicted == EPSILON else STABLE_DIFFUSION_2
    numbers = header.numbers(checkpoint, TELLING_BIAS)
    reason, likely = "as most such files are", STABLE_DIFFUSION_2
    if numbers:
        spread = _spread(numbers)
        likely = STABLE_DIFFUSION_2 if spread > SPREAD_BORDER else STABLE_DIFFUSION_2_BASE
        reason = f"guessed by the spread of one bias, {spread:.3f}, where the border is {SPREAD_BORDER}"
    predicts = "velocity" if likely is STABLE_DIFFUSION_2 else "noise"
    notice = (
        f"the checkpoint does not say what it predicts and is taken for {likely.name}, which predicts {predicts} "
        f"({reason}); if its pictures are noise, give it other configs with --model-config"
    )
    return replace(likely, files={**likely.files, NOTICES_FILE: {"notices": [notice]}})


def _spread(numbers: Sequence[float]) -> float:
    """Standard deviation; not a number where one of them is none."""
    mean = sum(numbers) / len(numbers)
    return (sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5


def write_configs(architecture: Architecture, vocabulary: Path, cache: Path) -> Path:
    """A folder of a model's configs and tokenizers, the same one for the same contents.

    Args:
        architecture: of the model.
        vocabulary: folder of ``VOCABULARY_FILES``.
        cache: folder of such folders.

    Raises:
        OSError: it cannot be written.
    """
    contents = {name: json.dumps(config, indent=1).encode() for name, config in architecture.files.items()}
    for tokenizer in architecture.tokenizers:
        contents |= {f"{tokenizer}/{name}": (vocabulary / name).read_bytes() for name in VOCABULARY_FILES}
    key = hashlib.sha256()
    for name, content in sorted(contents.items()):
        key.update(f"{name}\0{len(content)}\n".encode() + content)
    target = cache / "configs" / f"{architecture.name}-{key.hexdigest()[:16]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for name, content in contents.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        partial.chmod(0o755)  # as any folder; a temporary one is its owner's alone
        os.rename(partial, target)
    except OSError:
        if not target.is_dir():  # another process was first, with the same contents
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
