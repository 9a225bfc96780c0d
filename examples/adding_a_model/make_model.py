"""Writes a folder that the example family can load. Its weights are random: it paints noise in three shades."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from mosaic_family import MosaicTransformer
from safetensors.torch import save_file

LABELS = {"0": "sunrise, dawn", "1": "noon", "2": "sunset, dusk"}


def write_mosaic(path: Path, *, seed: int = 0, width: int = 16) -> Path:
    """Writes weights, configs and the index that names the pipeline, and returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MosaicTransformer(width, len(LABELS))
    (path / "denoiser").mkdir(parents=True)
    (path / "denoiser" / "config.json").write_text(json.dumps({"width": width, "classes": len(LABELS)}))
    save_file(network.state_dict(), path / "denoiser" / "model.safetensors")
    DDIMScheduler(clip_sample=False).save_config(path / "scheduler")
    (path / "model_index.json").write_text(json.dumps({"_class_name": "MosaicPipeline", "id2label": LABELS}))
    return path


if __name__ == "__main__":
    print(write_mosaic(Path(sys.argv[1])))
