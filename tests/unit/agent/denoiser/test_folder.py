"""Which files of a model folder are loaded, and that those and no others are its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader
from polyrhythm_agent.model_files.folder_text import BOM, read_object
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE, read_known_words

PARTS = ("unet", "vae", "scheduler", "tokenizer")
UNET = "diffusion_pytorch_model"


def write(path: Path, content: str | bytes = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def make(folder: Path) -> Path:
    index = {"_class_name": "P", "_diffusers_version": "1", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"]}
    write(folder / "model_index.json", json.dumps(index))
    write(folder / "unet" / "config.json", '{"_class_name": "U", "_diffusers_version": "1", "layers": 2}')
    write(folder / "unet" / f"{UNET}.safetensors", b"unet")
    write(folder / "vae" / "config.json")
    write(folder / "vae" / f"{UNET}.safetensors", b"vae")
    write(folder / "scheduler" / "scheduler_config.json")
    write(folder / "tokenizer" / "vocab.json")
    return folder


def fingerprint(folder: Path) -> str:
    return ModelFolder.open(folder).fingerprint(*PARTS, settings=())


def link_the_unet(folder: Path) -> None:
    (folder / "unet").rename(folder.parent / "elsewhere")
    (folder / "unet").symlink_to(folder.parent / "elsewhere")


def use_a_variant(folder: Path) -> None:
    (folder / "unet" / f"{UNET}.safetensors").rename(folder / "unet" / f"{UNET}.fp16.safetensors")


SAME: dict[str, Callable[[Path], object]] = {
    "a licence": lambda folder: write(folder / "LICENSE.txt"),
    "a licence of a part": lambda folder: write(folder / "unet" / "LICENSE.txt"),
    "a variant that nobody loads": lambda folder: write(folder / "unet" / f"{UNET}.fp16.safetensors", b"half"),
    "a part that nobody loads": lambda folder: write(folder / "safety_checker" / "model.safetensors", b"no"),
    "a calibration": lambda folder: write(folder / "calibration.json"),
    "another version in a config": lambda folder: write(
        folder / "unet" / "config.json", '{"layers": 2, "_diffusers_version": "2", "_class_name": "U"}'
    ),
    "a mark of byte order": lambda folder: write(
        folder / "unet" / "config.json", BOM + (folder / "unet" / "config.json").read_bytes()
    ),
    "a linked part": link_the_unet,
    "a file named after its precision": use_a_variant,
}
OTHER: dict[str, Callable[[Path], object]] = {
    "weights": lambda folder: write(folder / "unet" / f"{UNET}.safetensors", b"tenu"),
    "a config": lambda folder: write(folder / "unet" / "config.json", '{"_class_name": "U", "layers": 3}'),
    "a schedule": lambda folder: write(folder / "scheduler" / "scheduler_config.json", '{"beta_end": 1}'),
    "the class of the schedule": lambda folder: write(
        folder / "model_index.json", '{"_class_name": "P", "scheduler": ["diffusers", "S"]}'
    ),
    "a vocabulary": lambda folder: write(folder / "tokenizer" / "vocab.json", '{"a": 1}'),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_is_not_loaded_does_not_show(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = make(tmp_path / "m")
    before = fingerprint(folder)
    change(folder)
    assert fingerprint(folder) == before


@pytest.mark.parametrize("linked", [False, True], ids=["in the folder", "behind links"])
@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_is_loaded_shows(tmp_path: Path, change: Callable[[Path], object], linked: bool) -> None:
    real = make(tmp_path / "real")
    folder = real
    if linked:
        folder = tmp_path / "m"
        folder.mkdir()
        for each in real.iterdir():
            (folder / each.name).symlink_to(each)
    before = fingerprint(folder)
    assert before == fingerprint(real)
    change(real)
    assert fingerprint(folder) != before


def test_settings_of_the_index_show_where_they_are_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    index = json.loads((folder / "model_index.json").read_text())
    read, unread = (ModelFolder.open(folder).fingerprint(*PARTS, settings=settings) for settings in (("zeros",), ()))
    assert read == unread
    write(folder / "model_index.json", json.dumps({**index, "zeros": True, "requires_safety_checker": True}))
    assert ModelFolder.open(folder).fingerprint(*PARTS, settings=()) == unread
    assert ModelFolder.open(folder).fingerprint(*PARTS, settings=("zeros",)) != read


def test_a_folder_of_a_family_from_outside_is_hashed_by_its_index(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    before = ModelFolder.open(folder).fingerprint()
    write(folder / "vae" / f"{UNET}.safetensors", b"eav")
    assert ModelFolder.open(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("names", "variant", "loaded"),
    [
        ((f"{UNET}.safetensors", f"{UNET}.fp16.safetensors"), None, [f"{UNET}.safetensors"]),
        ((f"{UNET}.fp16.safetensors", f"{UNET}.non_ema.safetensors"), "fp16", [f"{UNET}.fp16.safetensors"]),
        (("model.fp16.safetensors", "model.bf16.safetensors"), "bf16", ["model.bf16.safetensors"]),
    ],
)
def test_one_set_of_files_is_loaded(tmp_path: Path, names: tuple[str, ...], variant: str, loaded: list[str]) -> None:
    write(tmp_path / "model_index.json")
    for name in names:
        write(tmp_path / "unet" / name)
    weights = ModelFolder.open(tmp_path).weights_of("unet")
    assert (weights.variant, [file.name for file in weights.files]) == (variant, loaded)


def test_shards_are_those_that_the_index_names(tmp_path: Path) -> None:
    write(tmp_path / "model_index.json")
    shards = {"b": "m-2.fp16.safetensors", "a": "m-1.fp16.safetensors"}
    write(tmp_path / "unet" / f"{UNET}.safetensors.index.fp16.json", json.dumps({"weight_map": shards}))
    write(tmp_path / "unet" / "m-1.fp16.safetensors")
    with pytest.raises(ModelFolderError, match=r"names m-2\.fp16\.safetensors, which are not there"):
        ModelFolder.open(tmp_path).weights_of("unet")
    write(tmp_path / "unet" / "m-2.fp16.safetensors")
    weights = ModelFolder.open(tmp_path).weights_of("unet")
    assert [file.name for file in weights.files] == ["m-1.fp16.safetensors", "m-2.fp16.safetensors"]


@pytest.mark.parametrize("variant", ["", ".fp16"], ids=["bare", "fp16"])
@pytest.mark.parametrize(
    ("library", "stem", "loaded"), [("diffusers", UNET, "shard.safetensors"), ("transformers", "model", None)]
)
def test_of_a_file_and_an_index_that_is_taken_which_the_library_takes(
    tmp_path: Path, library: str, stem: str, loaded: str | None, variant: str
) -> None:
    write(tmp_path / "model_index.json", json.dumps({"part": [library, "Kind"]}))
    single = write(tmp_path / "part" / f"{stem}{variant}.safetensors")
    write(tmp_path / "part" / "shard.safetensors")
    index = {"weight_map": {"a": "shard.safetensors"}}
    write(tmp_path / "part" / f"{stem}.safetensors.index{variant}.json", json.dumps(index))
    weights = ModelFolder.open(tmp_path).weights_of("part")
    assert [file.name for file in weights.files] == [loaded or single.name]


def test_files_of_another_library_do_not_count(tmp_path: Path) -> None:
    for name in (f"{UNET}.safetensors", "model.safetensors"):
        write(tmp_path / "part" / name)
    for library, name in (("diffusers", f"{UNET}.safetensors"), ("transformers", "model.safetensors")):
        write(tmp_path / "model_index.json", json.dumps({"part": [library, "Kind"]}))
        assert [file.name for file in ModelFolder.open(tmp_path).weights_of("part").files] == [name]


NAMING = "transformers_weights"
AMBIGUOUS: dict[str, tuple[str | None, dict[str, str], str]] = {
    "of two libraries": (
        None,
        {f"{UNET}.safetensors": "", "model.safetensors": ""},
        "which different libraries load, and model_index.json does not say which",
    ),
    "an index as it was once named": (
        "diffusers",
        {f"{UNET}.fp16.safetensors": "", f"{UNET}.safetensors.fp16.index.json": "{}"},
        "only one may be there",
    ),
    "an adapter": ("transformers", {"model.safetensors": "", "adapter_config.json": "{}"}, "adapters are not loaded"),
    "a name outside": ("transformers", {"config.json": f'{{"{NAMING}": "../x.safetensors"}}'}, "beside it"),
    "a name of a pickle": ("transformers", {"config.json": f'{{"{NAMING}": "adapter_model.bin"}}'}, "beside it"),
    "a name of nothing": ("transformers", {"config.json": f'{{"{NAMING}": "x.safetensors"}}'}, "is not there"),
}


@pytest.mark.parametrize(("library", "files", "told"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_where_it_cannot_be_said_what_is_loaded_it_is_refused(
    tmp_path: Path, library: str | None, files: dict[str, str], told: str
) -> None:
    write(tmp_path / "model_index.json", json.dumps({"part": [library, "Kind"]}))
    for name, content in files.items():
        write(tmp_path / "part" / name, content)
    with pytest.raises(ModelFolderError, match=told):
        ModelFolder.open(tmp_path).weights_of("part")


@pytest.mark.parametrize(
    ("name", "told"), [("weights.safetensors", "only weights.safetensors, which is no name"), ("w.bin", "no .safe")]
)
def test_weights_of_other_names_are_refused(tmp_path: Path, name: str, told: str) -> None:
    write(tmp_path / "model_index.json")
    write(tmp_path / "unet" / name)
    with pytest.raises(ModelFolderError, match=told):
        ModelFolder.open(tmp_path).weights_of("unet")


def test_libraries_read_a_copy_without_marks_of_byte_order(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    write(folder / "unet" / "config.json", BOM + b'{"layers": 2}')
    assert read_object(folder / "unet" / "config.json") == {"layers": 2}
    opened = ModelFolder.open(folder)
    with opened.readable("vae") as readable:
        assert readable == folder
    write(folder / "tokenizer" / "merges.txt", BOM + b"#version: 0.2\n")
    with opened.readable("tokenizer") as readable:
        assert (readable / "tokenizer" / "merges.txt").read_text() == "#version: 0.2\n"
    with opened.readable("unet") as readable:
        assert json.loads((readable / "unet" / "config.json").read_text()) == {"layers": 2}
        assert (readable / "unet" / f"{UNET}.safetensors").read_bytes() == b"unet"
    assert not readable.exists()


@pytest.mark.parametrize("read", [read_object, lambda path: read_known_words(path.parent), CheckpointHeader.read])
def test_files_that_are_nested_without_end_are_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path, nested = tmp_path / KNOWN_WORDS_FILE, b"[" * 100_000
    path.write_bytes(len(nested).to_bytes(8, "little") + nested if read == CheckpointHeader.read else nested)
    with pytest.raises(ModelFolderError):
        read(path)
