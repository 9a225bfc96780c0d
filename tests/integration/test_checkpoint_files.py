"""A single file in Stable Diffusion's original layout paints what the diffusers folder paints that it was made of."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.model_folder import find_model
from tests.tiny_models.original_layout import original_checkpoint, write_checkpoint
from tests.tiny_models.unets import TINY_UNETS
from tests.worlds.gang import solo_latent


def configs_of(folder: Path, target: Path) -> Path:
    """The folder without weights."""
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors")))


def picture(folder: Path) -> Tensor:
    spec = ImageSpec(
        model="tiny",
        prompt="a red apple",
        negative_prompt="blurry",
        width_px=64,
        height_px=128,
        steps=4,
        seed=11,
        guidance=5.0,
        sampler=Sampler.DDIM,
        quality=Quality.EXACT,
    )
    denoiser = load_denoiser(folder, model="tiny")
    return denoiser.decode(solo_latent(denoiser.start(spec, denoiser.encode(spec)), spec.steps))


@pytest.mark.parametrize("family", list(TINY_UNETS))
def test_the_picture_is_that_of_the_folder(folders: Mapping[str, Path], tmp_path: Path, family: str) -> None:
    checkpoint = write_checkpoint(folders[family], tmp_path / "tiny.safetensors")
    configs_of(folders[family], tmp_path / "tiny")
    found = find_model(str(checkpoint))
    assert (found.name, found.path, found.configs) == ("tiny", checkpoint, tmp_path / "tiny")
    converted = diffusers_folder(found.path, found.configs, cache=tmp_path / "cache")
    assert torch.equal(picture(converted), picture(folders[family]))


@pytest.mark.parametrize(("family", "open_clip"), [("sd", False), ("sd", True), ("sdxl", False)])
def test_every_weight_arrives(folders: Mapping[str, Path], tmp_path: Path, family: str, open_clip: bool) -> None:
    checkpoint = write_checkpoint(folders[family], tmp_path / "tiny.safetensors", open_clip=open_clip)
    converted = diffusers_folder(checkpoint, folders[family], cache=tmp_path / "cache")
    parts = {path.parent.name for path in converted.glob("*/*.safetensors")}
    assert parts == {path.parent.name for path in folders[family].glob("*/*.safetensors")}
    for part in parts:
        (theirs,), (ours,) = (folder.glob(f"{part}/*.safetensors") for folder in (folders[family], converted))
        expected, arrived = load_file(theirs), load_file(ours)
        assert expected.keys() == arrived.keys()
        assert all(torch.equal(value, arrived[name]) for name, value in expected.items())


def test_a_checkpoint_is_converted_once_and_found_wherever_it_lies(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    cache = tmp_path / "cache"
    first = diffusers_folder(checkpoint, folders["sd"], cache=cache)
    made = first.stat().st_ino
    (tmp_path / "moved").mkdir()
    moved = checkpoint.rename(tmp_path / "moved" / "tiny.safetensors")
    configs = configs_of(folders["sd"], tmp_path / "configs")
    assert diffusers_folder(moved, configs, cache=cache) == first
    assert first.stat().st_ino == made
    scheduler = configs / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"beta_end": 0.004}))
    assert diffusers_folder(moved, configs, cache=cache) != first


def test_the_same_files_have_the_same_fingerprint_in_any_cache(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    converted = [diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / name) for name in ("here", "there")]
    first, second = (load_denoiser(folder, model="tiny").facts.fingerprint for folder in converted)
    assert first == second


def test_halves_stay_halves(folders: Mapping[str, Path], tmp_path: Path) -> None:
    halves = {name: value.half() for name, value in original_checkpoint(folders["sd"]).items()}
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "half.safetensors", halves)
    converted = diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache")
    for file in converted.glob("*/*.safetensors"):
        assert {value.dtype for value in load_file(file).values()} == {torch.float16}
    assert load_denoiser(converted, model="tiny", dtype=torch.bfloat16).compute_dtype is torch.bfloat16


def test_a_conversion_tells_how_it_gets_on(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    told: list[str] = []
    diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache", progress=told.append)
    weights = len(original_checkpoint(folders["sd"]))
    assert f"read {weights} weights of tiny.safetensors" in told
    assert [text for text in told if text.startswith("converted")] == [
        "converted unet",
        "converted vae",
        "converted text_encoder",
    ]
    again: list[str] = []
    diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache", progress=again.append)
    assert again
    assert all(text.startswith("looked through") for text in again)


def test_who_waits_for_the_conversion_of_another_process_says_so(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    target = diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache")
    told: list[str] = []
    with target.with_name(f"{target.name}.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def progress(text: str) -> None:
            told.append(text)
            if text.startswith("waits"):
                fcntl.flock(held, fcntl.LOCK_UN)

        assert diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache", progress=progress) == target
    assert told.count("waits for another process that converts it") == 1


CONVERT = """
import sys
from pathlib import Path
from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
sys.stdin.read(1)
print(diffusers_folder(Path(sys.argv[1]), Path(sys.argv[2]), cache=Path(sys.argv[3])))
"""


def test_several_processes_at_once_make_one_folder(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", CONVERT, str(checkpoint), str(folders["sd"]), str(cache)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    said = {process.communicate(timeout=100)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (target,) = map(Path, said)
    assert [path for path in target.parent.iterdir() if path.is_dir()] == [target]
    assert load_denoiser(target, model="tiny").facts.name == "tiny"


def test_what_a_killed_conversion_left_is_not_read(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    target = diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache")
    partial = target.rename(target.with_name(f"{target.name}.partial"))
    (partial / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    (partial / "unet" / "left_over.json").write_text("{}")
    assert diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache") == target
    assert not partial.exists()
    assert not (target / "unet" / "left_over.json").exists()
    assert load_denoiser(target, model="tiny").facts.name == "tiny"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model.diffusion_model.out.2.bias": None}, r"has no unet conv_out\.bias"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)}, r"is \(8, 9, 3, 3\) in the check"),
        ({"first_stage_model.decoder.conv_in.weight": None}, r"has no vae decoder\.conv_in\.weight"),
        (
            {"cond_stage_model.transformer.text_model.final_layer_norm.bias": None},
            r"has no text_encoder .*final_layer_norm\.bias",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_leaves_nothing(
    folders: Mapping[str, Path], tmp_path: Path, changes: dict[str, Tensor | None], expected: str
) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors", changes)
    with pytest.raises(ModelFolderError, match=expected):
        diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "checkpoints").iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_named(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelFolderError, match="set POLYRHYTHM_CACHE"):
        diffusers_folder(checkpoint, folders["sd"], cache=tmp_path / "cache")


def test_configs_of_another_family_are_refused(folders: Mapping[str, Path], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(folders["sd"], tmp_path / "tiny.safetensors")
    with pytest.raises(InvalidArgumentError, match=r"--model-config: tiny\.safetensors holds a StableDiffusionPip"):
        find_model(str(checkpoint), configs=str(folders["sdxl"]))
