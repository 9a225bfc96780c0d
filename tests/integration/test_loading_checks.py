"""What loads although it is written otherwise, and what is refused at the start rather than at the first picture."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.files.diffusers_parts import load_part, load_text_encoder
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.folder_text import BOM
from tests.oracles.pipelines import assert_same, image, our_picture, pipeline_in, plain_picture, with_config
from tests.tiny_models.transformers import tiny_dit_folder
from tests.tiny_models.unets import tiny_sd_folder, tiny_sdxl_folder

VAE = Path("vae", "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_folder(tmp_path_factory.mktemp("original") / "sd")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "sd")


def facts_of(folder: Path) -> ModelFacts:
    return load_denoiser(folder, model="tiny").facts


def configure(folder: Path, part: str, **changes: object) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite_vae(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    weights = change(load_file(folder / VAE))
    save_file(weights, folder / VAE, metadata={"format": "pt"})


def test_files_named_after_their_precision_load_and_are_the_same_model(original: Path, folder: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    denoiser = load_denoiser(folder, model="tiny")
    assert denoiser.facts.fingerprint == facts_of(original).fingerprint
    for part in denoiser.parts:
        part.load()


def add_shards(part: Path, stem: str) -> None:
    """An index beside the single file, of one shard whose weights are all ones."""
    ones = {name: torch.ones_like(value) for name, value in load_file(part / f"{stem}.safetensors").items()}
    save_file(ones, part / "shard.safetensors", metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": dict.fromkeys(ones, "shard.safetensors")}
    (part / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def name_another_file(part: Path, stem: str) -> None:
    add_shards(part, stem)
    (part / f"{stem}.safetensors.index.json").unlink()
    configure(part.parent, part.name, transformers_weights="shard.safetensors")


@pytest.mark.parametrize(
    ("part", "stem", "change"),
    [
        ("unet", "diffusion_pytorch_model", add_shards),
        ("text_encoder", "model", add_shards),
        ("text_encoder", "model", name_another_file),
    ],
)
def test_weights_that_are_loaded_are_those_that_are_hashed(
    folder: Path, part: str, stem: str, change: Callable[[Path, str], None]
) -> None:
    change(folder / part, stem)
    opened = ModelFolder.open(folder)
    place = {"folder": opened, "part": part, "dtype": torch.float32, "device": torch.device("cpu")}
    loaded = load_part(UNet2DConditionModel, **place) if part == "unet" else load_text_encoder(CLIPTextModel, **place)
    stored = {name: value for file in opened.weights_of(part).files for name, value in load_file(file).items()}
    for name, value in loaded.named_parameters():
        torch.testing.assert_close(value, stored.get(name, stored.get(f"text_model.{name}")))
    assert facts_of(folder).fingerprint


def test_a_part_of_another_library_than_the_index_says_is_refused(folder: Path) -> None:
    shutil.copy(folder / VAE, folder / "vae" / "model.safetensors")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "vae": ["transformers", "AutoencoderKL"]}))
    with pytest.raises(ModelFolderError, match=r"says that vae is of transformers; it is loaded by diffusers"):
        facts_of(folder)


def test_marks_of_byte_order_do_no_harm(original: Path, folder: Path) -> None:
    for file in (*folder.glob("*/*config.json"), folder / "model_index.json"):
        file.write_bytes(BOM + file.read_bytes())
    denoiser = load_denoiser(folder, model="tiny")
    assert denoiser.facts.default_width_px == facts_of(original).default_width_px
    for part in denoiser.parts:
        part.load()


@pytest.mark.parametrize(
    ("sample_size", "expected"), [(64, (512, 512)), ([64, 96], (768, 512)), (None, (512, 512))], ids=str
)
def test_a_default_size_may_be_a_pair_or_null(folder: Path, sample_size: Any, expected: tuple[int, int]) -> None:
    configure(folder, "unet", sample_size=sample_size)
    facts = facts_of(folder)
    assert (facts.default_width_px, facts.default_height_px) == expected


ONE_SIDE = r"transformer: sample_size must be a whole number of latents, 1 at least; got"
ONE_OR_BOTH = r"unet: sample_size must be a whole number of latents, 1 at least, or two, height and width; got"


@pytest.mark.parametrize(
    ("make", "part", "told"),
    [("sd", "unet", ONE_OR_BOTH), ("pixart", "transformer", ONE_SIDE), ("dit", "transformer", ONE_SIDE)],
)
@pytest.mark.parametrize("size", ["32", 0, -32, 32.0, True, [32], [32, "32"], [32, 0], [32, None], {"0": 32, "1": 32}])
def test_a_size_that_is_none_is_refused_by_its_field(
    folders: Mapping[str, Path], tmp_path: Path, make: str, part: str, told: str, size: object
) -> None:
    folder = with_config(folders[make], tmp_path, part, sample_size=size)
    with pytest.raises(ModelFolderError, match=f"^{told} {re.escape(repr(size))}$"):
        facts_of(folder)


@pytest.mark.parametrize("make", ["pixart", "dit"])
def test_a_size_of_broken_patches_is_refused_when_the_model_is_loaded(
    folders: Mapping[str, Path], tmp_path: Path, make: str
) -> None:
    folder = with_config(folders[make], tmp_path, "transformer", sample_size=33)
    with pytest.raises(
        ModelFolderError, match=r"^transformer: sample_size must be a multiple of patch_size, 2; got 33$"
    ):
        facts_of(folder)


@pytest.mark.parametrize("size", [None, [32, 32]])
def test_a_transformer_was_trained_on_squares(folders: Mapping[str, Path], tmp_path: Path, size: object) -> None:
    folder = with_config(folders["pixart"], tmp_path, "transformer", sample_size=size)
    with pytest.raises(ModelFolderError, match=ONE_SIDE):
        facts_of(folder)


@pytest.mark.parametrize(
    ("make", "part", "changes", "told"),
    [
        ("sd", "unet", {"sample_size": [1, 10**4]}, r"default_width_px: must be 1\.\.65536, got 80000"),
        ("sd", "unet", {"sample_size": 10**12}, r"has sizes that no model has: "),
        ("pixart", "transformer", {"num_layers": 0}, r"exchanged\[0\]\.layers: must be 1\.\.\d+, got 0"),
    ],
)
def test_a_model_that_no_message_carries_is_refused(
    folders: Mapping[str, Path], tmp_path: Path, make: str, part: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelFolderError, match=rf"model: .*{told}"):
        facts_of(with_config(folders[make], tmp_path, part, **changes))


def test_a_tiny_autoencoder_is_refused(folder: Path) -> None:
    configure(folder, "vae", _class_name="AutoencoderTiny")
    with pytest.raises(ModelFolderError, match=r"vae is a AutoencoderTiny; only AutoencoderKL is run here"):
        facts_of(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latent_channels": 16}, r"takes latents of 16 channels, its denoiser makes 4"),
        ({"out_channels": 1}, r"makes pictures of 1 channels, not of 3"),
    ],
)
@pytest.mark.parametrize("family", ["sd", "dit"])
def test_an_autoencoder_that_does_not_fit_the_denoiser_is_refused(
    folder: Path, tmp_path: Path, family: str, changes: dict[str, Any], told: str
) -> None:
    if family == "dit":
        folder = tiny_dit_folder(tmp_path / "dit")
    config: dict[str, Any] = json.loads((folder / "vae" / "config.json").read_text())
    odd: AutoencoderKL = AutoencoderKL.from_config({**config, **changes})  # pyright: ignore[reportAssignmentType]
    odd.save_pretrained(folder / "vae")
    with pytest.raises(ModelFolderError, match=told):
        facts_of(folder)


@pytest.mark.parametrize("make", ["sd", "lcm", "sdxl", "pixart", "sigma", "dit"])
def test_an_autoencoder_without_a_scale_is_refused(folders: Mapping[str, Path], tmp_path: Path, make: str) -> None:
    folder = with_config(folders[make], tmp_path, "vae", scaling_factor=None)
    with pytest.raises(ModelFolderError, match=r"vae: scaling_factor must be a number other than 0, got None"):
        facts_of(folder)


def test_only_the_family_that_heeds_a_mean_of_each_channel_asks_for_one_of_each(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    uneven: dict[str, Any] = {"latents_mean": [0.1] * 3, "latents_std": [1.5] * 4}
    assert facts_of(with_config(folders["sd"], tmp_path / "sd", "vae", **uneven))
    with pytest.raises(ModelFolderError, match=r"vae: latents_mean must be 4 numbers, one a latent channel"):
        facts_of(with_config(folders["sdxl"], tmp_path / "sdxl", "vae", **uneven))


def put_text_encoder(folder: Path, part: str, kind: Any, **changes: object) -> None:
    """Another text encoder in the place of one, complete, with other sizes."""
    config = json.loads((folder / part / "config.json").read_text())
    kind(kind.config_class.from_dict({**config, **changes})).save_pretrained(folder / part)


@pytest.mark.parametrize(
    ("make", "part", "kind", "changes", "told"),
    [
        (
            "sd",
            "text_encoder",
            CLIPTextModel,
            {"hidden_size": 24},
            r"text_encoder in .* makes embeddings 24 wide, its unet takes 16 \(cross_attention_dim\)",
        ),
        (
            "lcm",
            "text_encoder",
            CLIPTextModel,
            {"hidden_size": 24},
            r"text_encoder in .* makes embeddings 24 wide, its unet takes 16 \(cross_attention_dim\)",
        ),
        (
            "sdxl",
            "text_encoder",
            CLIPTextModel,
            {"hidden_size": 24},
            r"text_encoder and text_encoder_2 in .* make embeddings 24 \+ 16 = 40 wide, its unet takes 32",
        ),
        (
            "sdxl",
            "text_encoder_2",
            CLIPTextModelWithProjection,
            {"hidden_size": 8},
            r"text_encoder and text_encoder_2 in .* make embeddings 16 \+ 8 = 24 wide, its unet takes 32",
        ),
        (
            "sdxl",
            "text_encoder_2",
            CLIPTextModelWithProjection,
            {"projection_dim": 24},
            r"text_encoder_2 in .* makes pooled texts 24 wide \(projection_dim\), its unet takes 16 beside the sizes",
        ),
        (
            "pixart",
            "text_encoder",
            T5EncoderModel,
            {"d_model": 32},
            r"text_encoder in .* makes embeddings 32 wide, its transformer takes 16 \(caption_channels\)",
        ),
        (
            "sigma",
            "text_encoder",
            T5EncoderModel,
            {"d_model": 32},
            r"text_encoder in .* makes embeddings 32 wide, its transformer takes 16 \(caption_channels\)",
        ),
    ],
    ids=["sd", "lcm", "sdxl first", "sdxl second", "sdxl pooled", "pixart", "sigma"],
)
def test_a_text_encoder_of_another_width_than_the_denoiser_is_refused(
    folders: Mapping[str, Path], tmp_path: Path, make: str, part: str, kind: Any, changes: dict[str, Any], told: str
) -> None:
    folder = shutil.copytree(folders[make], tmp_path / "model")
    put_text_encoder(folder, part, kind, **changes)
    with pytest.raises(ModelFolderError, match=told):
        facts_of(folder)


def test_an_sdxl_unet_in_a_pipeline_that_pools_no_text_is_refused(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "model")
    for part in ("unet", "text_encoder_2"):
        shutil.copytree(folders["sdxl"] / part, folder / part, dirs_exist_ok=True)
    put_text_encoder(folder, "text_encoder", CLIPTextModel, hidden_size=32)
    with pytest.raises(ModelFolderError, match=r"text_encoder in .* makes pooled texts 0 wide .* takes 16 beside"):
        facts_of(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, r"cross_attention_dim=None, but captions are projected to the 16 of its heads"),
        ({"caption_channels": None}, r"cross_attention_dim=None, but PixArt attends to a text"),
    ],
)
def test_a_transformer_that_attends_to_no_text_is_refused(
    folders: Mapping[str, Path], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    folder = with_config(folders["pixart"], tmp_path, "transformer", cross_attention_dim=None, **changes)
    with pytest.raises(ModelFolderError, match=told):
        facts_of(folder)


def test_a_unet_whose_blocks_attend_to_several_widths_is_refused(tmp_path: Path) -> None:
    folder = tiny_sdxl_folder(tmp_path, cross_attention_dim=(32, 32, 16))
    with pytest.raises(ModelFolderError, match=r"unet: cross_attention_dim=\[32, 32, 16\] is not supported"):
        facts_of(folder)


@pytest.mark.parametrize("make", ["sd", "sdxl"])
def test_the_width_of_a_text_may_be_named_for_each_block(
    folders: Mapping[str, Path], tmp_path: Path, make: str
) -> None:
    config = json.loads((folders[make] / "unet" / "config.json").read_text())
    widths = [config["cross_attention_dim"]] * len(config["block_out_channels"])
    folder = with_config(folders[make], tmp_path, "unet", cross_attention_dim=widths)
    spec = image(make, sampler=Sampler.DDIM, steps=2, guidance=5.0)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_in(folder), make, spec))


def test_weights_under_other_names_are_refused(folder: Path) -> None:
    rewrite_vae(folder, lambda weights: {f"model.{name}": value for name, value in weights.items()})
    with pytest.raises(ModelFolderError, match=r"vae does not fit its config: missing_keys such as"):
        facts_of(folder)


def test_weights_that_are_scaled_are_refused(folder: Path) -> None:
    rewrite_vae(folder, lambda weights: {name: value.to(torch.float8_e4m3fn) for name, value in weights.items()})
    with pytest.raises(ModelFolderError, match=r"holds weights of F8_E4M3"):
        facts_of(folder)


def test_names_of_older_versions_are_still_read(folder: Path) -> None:
    """Attention of an autoencoder as diffusers once named it: renamed in loading, which is tried at once."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        def name_of(name: str) -> str:
            for new, was in old.items():
                name = name.replace(f".{new}.", f".{was}.")
            return name

        return {name_of(name): value for name, value in weights.items()}

    rewrite_vae(folder, rename)
    denoiser = load_denoiser(folder, model="tiny")
    for part in denoiser.parts:
        part.load()
