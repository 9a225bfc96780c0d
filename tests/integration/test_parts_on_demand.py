"""Text encoders and autoencoder: loaded when they are needed, let go for room, and the same picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyrhythm.ids import AgentId
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.profile import Workload
from polyrhythm.session.commands import MeasureProfile
from polyrhythm_agent.denoiser.layers.solo import NoObserver
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.denoiser.on_demand import OnDemand, module_bytes
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.measuring.profile import measure_profile
from polyrhythm_agent.memory.device_memory import HostMemory, LimitedMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory, held_bytes
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.allocation import peak_bytes, square_image
from tests.tiny_models.families import TINY_MODELS
from tests.tiny_models.unets import tiny_sd_folder

SIDE_PX = 64


@pytest.fixture(params=list(TINY_MODELS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def limited(denoiser: Denoiser, limit_bytes: int) -> PartsInMemory:
    """The parts of a model in a memory of a limited size."""
    host = HostMemory(weights_bytes=lambda: denoiser.facts.resident_bytes + held_bytes(denoiser.parts))
    return PartsInMemory(denoiser.parts, LimitedMemory(host, limit_bytes))


def held(denoiser: Denoiser) -> set[ModelPart]:
    return {part.part for part in denoiser.parts if part.held}


def test_parts_are_loaded_by_their_first_use_only(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    image = square_image(denoiser, SIDE_PX)
    denoiser.geometry(image)
    denoiser.count_tokens(image.prompt)
    latent_BCHW = denoiser.start(image, denoiser.empty_condition(image)).initial_noise()
    assert not held(denoiser)
    denoiser.encode(image)
    assert ModelPart.AUTOENCODER not in held(denoiser)
    assert (ModelPart.TEXT_ENCODER in held(denoiser)) == (denoiser.facts.family != "dit")
    denoiser.decode(latent_BCHW)
    assert held(denoiser) == {part.part for part in denoiser.parts}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_sizes_that_are_told_before_loading_are_those_of_the_loaded_parts(folder: Path, dtype: str) -> None:
    denoiser = load_denoiser(folder, model="tiny", dtype=DTYPES[dtype])
    memory = denoiser.facts.memory
    assert memory is not None
    for part in denoiser.parts:
        assert isinstance(part, OnDemand)
        assert part.size_bytes == module_bytes(part.module())
    told = {each: sum(p.size_bytes for p in denoiser.parts if p.part is each) for each in ModelPart}
    assert told == {each: memory.part_bytes(each) for each in ModelPart}
    assert denoiser.facts.weights_bytes == memory.denoiser_bytes + sum(told.values())


def test_encoding_takes_what_is_said_and_little_less(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    image, memory = square_image(denoiser, SIDE_PX), denoiser.facts.memory
    assert memory is not None
    if not memory.text_encoder_bytes:
        pytest.skip("no text encoder")
    for part in denoiser.parts:
        part.load()
    measured = peak_bytes(lambda: denoiser.encode(image))
    said = memory.encode_bytes + 2 * memory.condition_bytes
    assert measured <= said
    assert memory.encode_bytes <= 1.5 * measured


def test_what_was_let_go_comes_back_the_same(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    facts, image = denoiser.facts, square_image(denoiser, SIDE_PX)
    condition = denoiser.encode(image)
    latent_BCHW = denoiser.start(image, condition).initial_noise()
    picture = denoiser.decode(latent_BCHW)
    for part in denoiser.parts:
        part.release()
    assert held_bytes(denoiser.parts) == 0
    again = denoiser.encode(image)
    assert all(torch.equal(tensor, again[name]) for name, tensor in condition.items())
    assert torch.equal(denoiser.decode(latent_BCHW), picture)
    assert denoiser.facts == facts


def test_a_part_leaves_only_where_its_room_is_needed(folder: Path) -> None:
    denoiser = load_denoiser(folder, model="tiny")
    size = {each: sum(p.size_bytes for p in denoiser.parts if p.part is each) for each in ModelPart}
    need_bytes = denoiser.facts.resident_bytes + size[ModelPart.AUTOENCODER]
    parts = limited(denoiser, need_bytes + size[ModelPart.TEXT_ENCODER])
    assert parts.fetch(ModelPart.AUTOENCODER) > 0
    assert parts.fetch(ModelPart.AUTOENCODER) == 0.0
    assert (parts.fetch(ModelPart.TEXT_ENCODER) > 0) == (size[ModelPart.TEXT_ENCODER] > 0)
    assert parts.held_bytes == sum(size.values())
    parts.make_room(need_bytes, keep=(ModelPart.AUTOENCODER,))
    assert held(denoiser) == {part.part for part in denoiser.parts}
    parts.make_room(need_bytes + 1, keep=(ModelPart.AUTOENCODER,))
    assert held(denoiser) == {ModelPart.AUTOENCODER}
    parts.make_room(denoiser.facts.resident_bytes)
    assert held(denoiser) == {ModelPart.AUTOENCODER}
    parts.make_room(need_bytes + sum(size.values()))
    assert not held(denoiser)


def test_a_profile_says_for_which_part_there_is_no_room_and_measures_the_rest(folders: Mapping[str, Path]) -> None:
    denoiser = load_denoiser(folders["pixart"], model="tiny")
    memory = denoiser.facts.memory
    assert memory is not None
    workload = Workload(model="tiny", width_px=SIDE_PX, height_px=SIDE_PX, batch=2)

    def measure(limit_bytes: int):  # noqa: ANN202
        parts = limited(denoiser, limit_bytes)
        return measure_profile(
            AgentId("a"),
            MeasureProfile(request_id=1, workload=workload),
            denoiser,
            NoObserver(),
            lambda exchange: exchange,
            parts,
        )

    encoding = memory.denoiser_bytes + memory.text_encoder_bytes + memory.encode_bytes
    decoding = memory.denoiser_bytes + memory.autoencoder_bytes + memory.decode_bytes(SIDE_PX**2)
    assert decoding > encoding
    short = measure(encoding - 1)
    assert short.no_room == (ModelPart.TEXT_ENCODER, ModelPart.AUTOENCODER)
    assert (short.encode_s, short.decode_s, short.loading_s) == (0.0, 0.0, 0.0)
    assert short.per_row_s > 0
    assert not held(denoiser)
    assert measure(decoding - 1).no_room == (ModelPart.AUTOENCODER,)
    whole = measure(1 << 40)
    assert whole.no_room == ()
    assert min(whole.encode_s, whole.decode_s, whole.loading_s) > 0


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def too_few(path: Path) -> None:
    weights = load_file(path)
    del weights["decoder.conv_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (torn, "vae cannot be loaded"),
        (too_few, "missing_keys such as decoder.conv_in.weight"),
        (absent, "vae holds no .safetensors file"),
    ],
)
def test_damage_to_a_part_is_found_before_it_is_loaded(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = tiny_sd_folder(tmp_path / "m")
    damage(folder / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelFolderError, match=reason):
        load_denoiser(folder, model="tiny")


def test_the_fingerprint_does_not_depend_on_what_is_loaded(folder: Path) -> None:
    first, second = (load_denoiser(folder, model="tiny") for _ in range(2))
    for part in second.parts:
        part.load()
    assert first.facts == replace(second.facts)
