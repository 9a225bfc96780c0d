"""A model folder is looked at before anything is started."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.hub_id import HubId
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm_agent.errors import ModelUnavailableError
from polyrhythm_agent.model_files.model_folder import cache_folder, find_model

INDEX = '{"_class_name": "PixArtAlphaPipeline"}'


def make_model(folder: Path, *, index: str | None = INDEX, weights: str | None = "weights.safetensors") -> Path:
    (folder / "transformer").mkdir(parents=True)
    if index is not None:
        (folder / "model_index.json").write_text(index)
    if weights is not None:
        (folder / "transformer" / weights).write_bytes(b"")
    return folder


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    found = find_model(str(make_model(tmp_path / "PixArt-512")))
    assert (found.name, found.path) == ("PixArt-512", tmp_path / "PixArt-512")


def test_a_model_that_ships_is_found_by_its_name_in_the_first_of_its_places(tmp_path: Path) -> None:
    here = make_model(tmp_path / "b" / DEFAULT_MODEL)
    make_model(tmp_path / "c" / DEFAULT_MODEL)
    found = find_model(DEFAULT_MODEL, (tmp_path / "a", tmp_path / "b", tmp_path / "c"))
    assert (found.name, found.path) == (DEFAULT_MODEL, here)


def test_a_checkout_has_every_model_that_ships() -> None:
    assert [find_model(name).path.parent.name for name in SHIPPED_MODELS] == ["models"] * len(SHIPPED_MODELS)


def test_an_installation_without_a_model_that_ships_names_those_that_it_has(tmp_path: Path) -> None:
    make_model(tmp_path / DEFAULT_MODEL)
    expected = rf"^--model: demo-transformer is not part of this installation; .* by name here: {DEFAULT_MODEL}; "
    with pytest.raises(InvalidArgumentError, match=expected):
        find_model("demo-transformer", (tmp_path,))


def test_a_name_of_no_model_is_answered_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidArgumentError, match=r"^--model: \S+/demo does not exist; .*: demo-unet, demo-transformer$"
    ):
        find_model("demo")


def test_a_linked_folder_keeps_the_name_that_it_was_given(tmp_path: Path) -> None:
    real = make_model(tmp_path / "snapshots" / "0123abcd")
    (tmp_path / "PixArt").symlink_to(real)
    found = find_model(str(tmp_path / "PixArt"))
    assert (found.name, found.path) == ("PixArt", real)


def test_a_folder_is_named_from_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_model(tmp_path / "m") / "transformer")
    assert find_model("..").name == "m"


def test_an_index_with_a_mark_of_byte_order_is_read(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", index=f"\ufeff{INDEX}")
    assert find_model(str(folder)).path == folder


@pytest.mark.parametrize(
    ("index", "weights", "expected"),
    [
        (None, "w.safetensors", "model_index.json cannot be read"),
        ("{", "w.safetensors", "model_index.json is no JSON"),
        ("[]", "w.safetensors", "model_index.json names no pipeline"),
        (
            '{"_class_name": "FluxPipeline"}',
            "w.safetensors",
            "is a 'FluxPipeline', which no worker can load; known are: Di",
        ),
        ('{"_class_name": ["PixArtAlphaPipeline"]}', "w.safetensors", "names no pipeline"),
        (INDEX, None, "holds no safetensors weights"),
        (INDEX, "pytorch_model.bin", "holds no safetensors weights"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, index: str | None, weights: str | None, expected: str) -> None:
    folder = make_model(tmp_path / "m", index=index, weights=weights)
    with pytest.raises(InvalidArgumentError, match=expected):
        find_model(str(folder))


def test_pipelines_of_other_packages_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "other_family-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-family\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[polyrhythm.families]\nOtherPipeline = other_family:load\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = make_model(tmp_path / "m", index='{"_class_name": "OtherPipeline"}')
    assert find_model(str(folder)).path == folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_weights_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "transformer" / "weights.safetensors").chmod(0)
    with pytest.raises(InvalidArgumentError, match=r"weights.safetensors may not be read by this user"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.ckpt", "is a pickle, which can run code"),
        ("model.bin", "is a pickle, which can run code"),
        ("model.zip", "is neither a folder nor a .safetensors checkpoint"),
        ("model", "is neither a folder nor a .safetensors checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidArgumentError, match=expected):
        find_model(str(tmp_path / name))


SD = ("model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias", "cond_stage_model.transformer.a")
SDXL = (*SD[:2], "conditioner.embedders.0.transformer.a", "conditioner.embedders.1.model.a")


def make_checkpoint(file: Path, names: tuple[str, ...] = SD, dtype: str = "F16") -> Path:
    """A file with a header and nothing else: more is not looked at."""
    header = json.dumps({"__metadata__": {"format": "pt"}} | {name: {"dtype": dtype} for name in names}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    return file


def make_configs(folder: Path, pipeline: str = "StableDiffusionPipeline", missing: str = "") -> Path:
    for part in {"unet", "vae", "text_encoder", "text_encoder_2"} - {missing}:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


@pytest.mark.parametrize("beside", ["sd-1.5", "sd-1.5.safetensors.config"])
def test_a_checkpoint_finds_its_configs_beside_it(tmp_path: Path, beside: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "sd-1.5.safetensors")
    configs = make_configs(tmp_path / beside)
    found = find_model(str(checkpoint))
    assert (found.name, found.path, found.configs) == ("sd-1.5", checkpoint, configs)


def test_a_link_to_a_checkpoint_is_looked_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    make_checkpoint(tmp_path / "blobs" / "0123")
    (tmp_path / "xl.safetensors").symlink_to(tmp_path / "blobs" / "0123")
    configs = make_configs(tmp_path / "xl")
    assert find_model(str(tmp_path / "xl.safetensors")).configs == configs


def test_configs_may_be_named(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors", SDXL)
    configs = make_configs(tmp_path / "far" / "away", "StableDiffusionXLPipeline")
    assert find_model(str(checkpoint), configs=str(configs)).configs == configs


def test_a_checkpoint_without_configs_says_how_to_give_them(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors")
    with pytest.raises(InvalidArgumentError) as caught:
        find_model(str(checkpoint), fetch_vocabulary=no_vocabulary, cache=tmp_path / "cache")
    message = str(caught.value)
    assert message.startswith("--model: m.safetensors holds no tokenizer, and CLIP's vocabulary cannot be had: no net")
    assert "`hf download openai/clip-vit-large-patch14 vocab.json merges.txt`" in message
    assert f"{tmp_path / 'm'} or {tmp_path / 'm.safetensors.config'}" in message
    assert "--model-config" in message
    assert "\n" not in message


def no_vocabulary() -> Path:
    raise ModelUnavailableError("no network")


def vocabulary(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / "merges.txt").write_text("#version: 0.2")
    return folder


SD_2 = (*SD[:2], "cond_stage_model.model.a")


@pytest.mark.parametrize(
    ("names", "width", "encoders"), [(SD, 768, [768]), (SD_2, 1024, [1024]), (SDXL, 2048, [768, 1280])]
)
def test_configs_of_a_checkpoint_alone_are_known(
    tmp_path: Path, names: tuple[str, ...], width: int, encoders: list[int]
) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors", names)

    def find() -> Path:
        found = find_model(
            str(checkpoint), fetch_vocabulary=lambda: vocabulary(tmp_path / "clip"), cache=tmp_path / "cache"
        ).configs
        assert found is not None
        return found

    configs = find()
    assert json.loads((configs / "unet" / "config.json").read_text())["cross_attention_dim"] == width
    for suffix, hidden in zip(("", "_2"), encoders, strict=False):
        assert json.loads((configs / f"text_encoder{suffix}" / "config.json").read_text())["hidden_size"] == hidden
        assert (configs / f"tokenizer{suffix}" / "vocab.json").read_text() == '{"a": 0}'
    assert find() == configs
    assert list((tmp_path / "cache" / "configs").iterdir()) == [configs]


def test_configs_beside_a_checkpoint_go_before_those_that_are_known(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors")
    configs = make_configs(tmp_path / "m")
    assert find_model(str(checkpoint), fetch_vocabulary=no_vocabulary).configs == configs


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InvalidArgumentError, match="set POLYRHYTHM_CACHE"):
        find_model(str(checkpoint), fetch_vocabulary=lambda: vocabulary(tmp_path / "clip"), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (SD[1:], "holds no model.diffusion_model"),
        (SD[:2], "holds no text encoder"),
        (SDXL[:3], "holds no text encoder"),
        ((SD[0], SD[2]), "holds no autoencoder"),
        (("transformer_blocks.0.a",), "is no Stable Diffusion checkpoint"),
        ((), "is no Stable Diffusion checkpoint"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors", names)
    make_configs(tmp_path / "m")
    with pytest.raises(InvalidArgumentError, match=rf"^--model: .*m\.safetensors cannot be loaded: .*{expected}"):
        find_model(str(checkpoint))


def test_scaled_types_are_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors", dtype="F8_E4M3")
    with pytest.raises(InvalidArgumentError, match="it holds weights of F8_E4M3"):
        find_model(str(checkpoint))


@pytest.mark.parametrize("scaled", SD)
def test_no_part_of_a_checkpoint_may_be_scaled(tmp_path: Path, scaled: str) -> None:
    header = json.dumps({name: {"dtype": "F8_E5M2" if name == scaled else "F16"} for name in (*SD, "x")}).encode()
    checkpoint = tmp_path / "m.safetensors"
    checkpoint.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidArgumentError, match="it holds weights of F8_E5M2"):
        find_model(str(checkpoint))


@pytest.mark.parametrize("content", [b"", b"\xff" * 32, b"\x02" + b"\0" * 7 + b"[]", b"\x09" + b"\0" * 7 + b'{"a": {}'])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="is no safetensors file"):
        find_model(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    ("pipeline", "missing", "expected"),
    [
        ("StableDiffusionXLPipeline", "", "holds a StableDiffusionPipeline, but .* describes a StableDiffusionXLPipel"),
        ("StableDiffusionPipeline", "vae", "has no vae/config.json"),
    ],
)
def test_configs_that_do_not_fit_are_refused(tmp_path: Path, pipeline: str, missing: str, expected: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors")
    configs = make_configs(tmp_path / "c", pipeline, missing)
    with pytest.raises(InvalidArgumentError, match=rf"^--model-config: .*{expected}"):
        find_model(str(checkpoint), configs=str(configs))


def test_a_folder_takes_no_configs(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^--model-config: goes with a checkpoint file only"):
        find_model(str(make_model(tmp_path / "m")), configs=str(make_configs(tmp_path / "c")))


class FakeHub:
    """Has one model, in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def fetch(self, model: HubId) -> Path:
        self.asked.append(str(model))
        if self.folder is None:
            raise ModelUnavailableError("the hub cannot be reached")
        return self.folder


@pytest.mark.parametrize("text", ["org/tiny", "org/tiny@v1.0", "org/tiny@refs/pr/3"])
def test_a_model_of_the_hub_is_fetched_and_named_by_its_id(tmp_path: Path, text: str) -> None:
    hub = FakeHub(make_model(tmp_path / "snapshots" / "0123"))
    found = find_model(text, fetch=hub.fetch)
    assert (found.name, found.path, hub.asked) == (text, tmp_path / "snapshots" / "0123", [text])


def test_an_existing_path_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "org" / "tiny")
    monkeypatch.chdir(tmp_path)
    hub = FakeHub()
    assert find_model("org/tiny", fetch=hub.fetch).path == tmp_path / "org" / "tiny"
    assert not hub.asked


@pytest.mark.parametrize(
    "text",
    ["./org/tiny", "/org/tiny", "~/tiny", ".org/tiny", "org/.tiny", "org/tiny/", "a/b/c", "tiny", "org/m.safetensors"],
)
def test_what_can_be_a_path_only_is_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    hub = FakeHub()
    with pytest.raises(InvalidArgumentError, match=r"^--model: .* does not exist; "):
        find_model(text, fetch=hub.fetch)
    assert not hub.asked


def test_a_home_of_nobody_is_no_path() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^--model: ~nobody-of-this-name/m is no path that can be read"):
        find_model("~nobody-of-this-name/m", fetch=FakeHub().fetch)


def test_a_model_that_cannot_be_fetched_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError) as caught:
        find_model("org/tiny", fetch=FakeHub().fetch)
    assert str(caught.value) == (
        "--model: 'org/tiny' is no path here, and as a model of the hub: the hub cannot be reached"
    )


def test_a_fetched_model_is_checked_like_any_folder(tmp_path: Path) -> None:
    hub = FakeHub(make_model(tmp_path / "m", weights=None))
    with pytest.raises(InvalidArgumentError, match="holds no safetensors weights"):
        find_model("org/tiny", fetch=hub.fetch)


def test_the_cache_is_the_users_unless_it_is_named(tmp_path: Path) -> None:
    assert cache_folder({"POLYRHYTHM_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/x"}) == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/polyrhythm")
    assert cache_folder({"XDG_CACHE_HOME": "relative, so to be ignored"}) == Path.home() / ".cache" / "polyrhythm"
    assert cache_folder({}) == Path.home() / ".cache" / "polyrhythm"
