"""Folders are loaded through diffusers, or refused with a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.files.diffusers_parts import load_part, load_text_encoder
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.errors import ModelFolderError, OutOfMemoryError
from tests.tiny_models.transformers import tiny_pixart_folder
from tests.worlds.gang import solo_latent

DEMO = Path(__file__).parents[2] / "models" / "demo-transformer"
WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def original(folders: Mapping[str, Path]) -> Path:
    return folders["pixart"]


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", list(DTYPES))
def test_every_dtype_loads(original: Path, name: str) -> None:
    denoiser = load_denoiser(original, model="tiny", dtype=DTYPES[name])
    assert denoiser.facts.dtype == name
    assert denoiser.compute_dtype is DTYPES[name]
    assert denoiser.state_dtype is (torch.float64 if name == "float64" else torch.float32)


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1, 2")


def list_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1, 2]")


def other_pipeline(folder: Path) -> None:
    edit_json(folder / "model_index.json", _class_name="OtherPipeline")


def pickled_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "transformer" / "diffusion_pytorch_model.bin")


def torn_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def missing_weight(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["transformer_blocks.1.attn1.to_k.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def missing_text_weight(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.block.0.layer.0.SelfAttention.q.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def other_width(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", attention_head_dim=16)


def other_channels(folder: Path) -> None:
    path = folder / WEIGHTS
    tensors = load_file(path)
    for name in ("proj_out.weight", "proj_out.bias"):
        tensors[name] = tensors[name][: 6 * 4].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    edit_json(folder / "transformer" / "config.json", out_channels=6)


def no_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def thresholding(folder: Path) -> None:
    edit_json(folder / "scheduler" / "scheduler_config.json", thresholding=True)


def no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def large_tokenizer(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["shared.weight"] = tensors["shared.weight"][:39].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    edit_json(folder / "text_encoder" / "config.json", vocab_size=39)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda folder: (folder / "model_index.json").unlink(), "has no model_index.json"),
        (break_index, "cannot be read as JSON"),
        (list_index, "holds list, not an object"),
        (other_pipeline, "is a 'OtherPipeline'; known pipelines: DiTPipeline, LatentConsistencyModelPipeline, PixArt"),
        (pickled_weights, "transformer holds no .safetensors file"),
        (torn_weights, "transformer cannot be loaded"),
        (missing_weight, "missing_keys such as transformer_blocks.1.attn1.to_k.weight"),
        (missing_text_weight, "missing_keys such as encoder.block.0.layer.0.SelfAttention.q.weight"),
        (other_width, "transformer cannot be loaded|transformer does not fit its config"),
        (other_channels, "transformer: 4 channels in, 6 out"),
        (no_scheduler, "has no scheduler/scheduler_config.json"),
        (thresholding, "scheduler: DPMSolverMultistepScheduler with thresholding=True is not supported"),
        (no_tokenizer, "tokenizer holds neither tokenizer.json nor spiece.model"),
        (large_tokenizer, "tokenizer in .* has 40 tokens, its encoder 39"),
    ],
)
def test_folders_that_cannot_be_used(folder: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=reason):
        load_denoiser(folder, model="tiny")


def no_patches(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", patch_size=0)


def odd_text_encoder(folder: Path) -> None:
    edit_json(folder / "text_encoder" / "config.json", num_heads=None)


def odd_autoencoder(folder: Path) -> None:
    edit_json(folder / "vae" / "config.json", norm_num_groups=0)


def empty_autoencoder(folder: Path) -> None:
    edit_json(folder / "vae" / "config.json", block_out_channels=[])


@pytest.mark.parametrize("damage", [no_patches, odd_text_encoder, odd_autoencoder, empty_autoencoder])
def test_configs_that_no_model_can_be_made_of_name_the_folder(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=f"model: {folder}.* cannot be loaded: "):
        load_denoiser(folder, model="tiny")


class Greedy:
    """A part for which the host has not enough memory."""

    @staticmethod
    def from_pretrained(*_: object, **__: object) -> object:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("load", [load_part, load_text_encoder])
def test_a_lack_of_memory_while_a_part_is_loaded_is_no_fault_of_the_folder(
    original: Path, load: Callable[..., object]
) -> None:
    folder = ModelFolder.open(original)
    with pytest.raises(OutOfMemoryError, match="DefaultCPUAllocator"):
        load(Greedy, folder, "vae", dtype=torch.float32, device=torch.device("cpu"))


def test_the_fingerprint_follows_weights_and_configs_only(original: Path, folder: Path) -> None:
    fingerprint = load_denoiser(original, model="tiny").facts.fingerprint
    (folder / "README.md").write_text("a card")
    assert load_denoiser(folder, model="other", dtype=torch.float64).facts.fingerprint == fingerprint
    edit_json(folder / "vae" / "config.json", scaling_factor=0.25)
    assert load_denoiser(folder, model="tiny").facts.fingerprint != fingerprint


def test_a_tokenizer_may_ask_for_less(tmp_path: Path) -> None:
    short = tiny_pixart_folder(tmp_path / "short", token_limit=24)
    assert load_denoiser(short, model="tiny").facts.token_limit == 24
    without = tiny_pixart_folder(tmp_path / "without", token_limit=int(1e30))
    assert load_denoiser(without, model="tiny").facts.token_limit == 120


@pytest.mark.skipif(not (DEMO / "model_index.json").is_file(), reason="the model is not there yet")
def test_the_demo_model_paints() -> None:
    denoiser = load_denoiser(DEMO, model="demo-transformer")
    facts = denoiser.facts
    spec = ImageSpec(
        model="demo-transformer",
        prompt="red apple on a blue background",
        width_px=facts.default_width_px,
        height_px=facts.default_height_px,
        steps=4,
        seed=1,
        guidance=facts.default_guidance,
        sampler=Sampler(facts.samplers[0]),
        quality=Quality.EXACT,
    )
    latent_BCHW = solo_latent(denoiser.start(spec, denoiser.encode(spec)), spec.steps)
    assert denoiser.decode(latent_BCHW).shape == (3, spec.height_px, spec.width_px)
