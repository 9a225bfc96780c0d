"""Of a repository on the hub, what a worker reads is fetched, once, and nothing that could run code."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.model.hub_id import read_hub_id
from polyrhythm_agent.model_files.hub import FETCHED, LEFT_OUT, PICKLES, variants_wanted

READ = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
)
NOT_READ = (
    "README.md",
    "model.ckpt",
    "safety_checker/model.safetensors",
    "text_encoder/flax_model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx",
    "text_encoder/openvino_model.bin",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/weights.pt",
    "unet/weights.pth",
    "v1-5-pruned.safetensors",
)


def test_what_a_worker_reads_is_fetched_and_nothing_else() -> None:
    files = sorted((*READ, *NOT_READ))
    assert list(filter_repo_objects(files, allow_patterns=list(FETCHED), ignore_patterns=list(LEFT_OUT))) == list(READ)


def test_parts_that_are_there_in_one_precision_only_are_fetched_in_that(tmp_path: Path) -> None:
    for name in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    wanted = variants_wanted(tmp_path)
    files = [
        *("unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"),
        *("vae/diffusion_pytorch_model.safetensors.index.fp16.json", "vae/diffusion_pytorch_model.fp16.bin"),
    ]
    fetched = filter_repo_objects(files, allow_patterns=list(wanted), ignore_patterns=list(PICKLES))
    assert list(fetched) == [files[1], files[2]]
    (tmp_path / "vae" / "diffusion_pytorch_model.fp16-00001-of-00002.safetensors").write_text("")
    assert variants_wanted(tmp_path) == wanted, "a fetch that was broken off goes on"
    (tmp_path / "vae" / "diffusion_pytorch_model.fp32.safetensors").write_text("")
    assert variants_wanted(tmp_path) == ()


def test_an_id_has_a_repository_and_perhaps_a_revision() -> None:
    found = read_hub_id("org/Model-1.0@refs/pr/3")
    assert found is not None
    assert (found.repository, found.revision) == ("org/Model-1.0", "refs/pr/3")
    plain = read_hub_id("org/name")
    assert plain is not None
    assert plain.revision is None


@given(st.text(alphabet="ab.~-_/@ \\\n", max_size=12))
def test_an_id_is_read_as_it_is_written_or_is_a_path(text: str) -> None:
    found = read_hub_id(text)
    if found is None:
        return
    assert str(found) == text
    assert found.repository.count("/") == 1
    assert not any(part.startswith((".", "~")) for part in found.repository.split("/"))
