"""Weights outside of the device's memory: the same numbers, less memory, and no weight that stays by mistake."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyrhythm.ids import AgentId
from polyrhythm.plan.profile import Workload
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import MeasureProfile
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.denoiser.offload import blocks_of, offloaded_bytes
from polyrhythm_agent.denoiser.on_demand import module_bytes
from polyrhythm_agent.measuring.profile import measure_profile
from polyrhythm_agent.memory.device_memory import HostMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.worker.load_model import load_as_it_fits, smallest_share_bytes
from tests.oracles.allocation import peak_bytes, square_image
from tests.tiny_models.families import TINY_MODELS
from tests.tiny_models.transformers import tiny_pixart_folder

CPU = torch.device("cpu")
SIDE_PX = 64


@pytest.fixture(params=list(TINY_MODELS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def network(denoiser: Any) -> torch.nn.Module:
    parts = denoiser._parts
    return parts.unet if hasattr(parts, "unet") else parts.transformer


def forward(denoiser: Denoiser) -> Callable[[], torch.Tensor]:
    image = square_image(denoiser, SIDE_PX)
    run = denoiser.start(image, denoiser.encode(image))
    rows = RowRange(begin=0, end=run.geometry.row_count)
    noise_BCHW = run.initial_noise()
    return lambda: run.predict(noise_BCHW, 0, rows, SoloExchange(), NoObserver())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_a_forward_is_the_same_but_for_rounding(folder: Path, dtype: str, tolerance: float) -> None:
    """Weights that lie elsewhere in memory may be taken by another kernel."""
    plain, outside = (
        load_denoiser(folder, model="tiny", dtype=DTYPES[dtype], offload=offload) for offload in (False, True)
    )
    assert (plain.facts.offloaded, outside.facts.offloaded) == (False, True)
    assert plain.facts.fingerprint == outside.facts.fingerprint
    run_plain, run_outside = forward(plain), forward(outside)
    expected = run_plain()
    for _ in range(2):  # what was let go comes back
        torch.testing.assert_close(run_outside(), expected, rtol=tolerance, atol=tolerance)


def test_files_that_are_not_the_models_are_not_brought_in(tmp_path: Path) -> None:
    """As where a folder has the weights in half precision, too."""
    folder = TINY_MODELS["dit"](tmp_path)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    others = {name: torch.zeros_like(value) for name, value in load_file(weights).items()}
    save_file(others, weights.with_name("diffusion_pytorch_model.small.safetensors"))
    expected, outside = (forward(load_denoiser(folder, model="tiny", offload=offload))() for offload in (False, True))
    torch.testing.assert_close(outside, expected, rtol=1e-5, atol=1e-5)


def test_between_forwards_the_blocks_weigh_nothing(folder: Path) -> None:
    plain, outside = (load_denoiser(folder, model="tiny", offload=offload) for offload in (False, True))
    forward(outside)()
    weights, memory = network(outside), outside.facts.memory
    assert memory is not None
    assert outside.facts.resident_bytes == memory.offloaded_bytes == offloaded_bytes(network(plain))
    assert memory.denoiser_bytes == module_bytes(network(plain))
    assert sum(module_bytes(block) for block in blocks_of(weights)) == 0
    assert 0 < module_bytes(weights) < memory.offloaded_bytes < memory.denoiser_bytes


def test_a_forward_holds_one_block_at_a_time() -> None:
    folder = find_model("demo-transformer").path
    plain, outside = (load_denoiser(folder, model="demo-transformer", offload=offload) for offload in (False, True))
    largest_bytes = max(module_bytes(block) for block in blocks_of(network(plain)))
    more_bytes = peak_bytes(forward(outside)) - peak_bytes(forward(plain))
    assert 0.9 * largest_bytes < more_bytes <= largest_bytes
    assert largest_bytes < 0.2 * module_bytes(network(plain))


def test_the_files_are_what_counts(tmp_path: Path) -> None:
    """A negative control: another block in the file makes another picture, so weights do come from there."""
    folder = tiny_pixart_folder(tmp_path / "m")
    outside = load_denoiser(folder, model="tiny", offload=True)
    run = forward(outside)
    before = run()
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4096:] = bytes(4096)
    with path.open("r+b") as file:  # in place: the same file is mapped
        file.write(bytes(content))
    assert not torch.equal(run(), before)


@pytest.mark.parametrize(("offload", "spare_bytes", "expected"), [
    ("auto", 0, False), ("auto", -1, True), ("never", -1, False), ("always", 0, True),
])  # fmt: skip
def test_auto_offloads_where_not_even_a_row_would_fit(
    folder: Path, offload: str, spare_bytes: int, expected: bool
) -> None:
    limit_bytes = smallest_share_bytes(load_denoiser(folder, model="tiny").facts) + spare_bytes
    denoiser = load_as_it_fits(
        folder, model="tiny", dtype=torch.float32, device=CPU, offload=offload, limit_bytes=limit_bytes
    )
    assert denoiser.facts.offloaded is expected


def test_what_auto_has_looked_at_is_gone_before_the_weights_are_loaded(folder: Path) -> None:
    looked_at: list[weakref.ref[torch.nn.Module]] = []

    def load(path: Path, **options: Any) -> Denoiser:
        assert [held() for held in looked_at] == [None] * len(looked_at)
        denoiser = load_denoiser(path, **options)
        looked_at.append(weakref.ref(network(denoiser)))
        return denoiser

    load_as_it_fits(folder, model="tiny", dtype=torch.float32, device=CPU, offload="auto", limit_bytes=1, load=load)
    assert len(looked_at) == 2


def test_a_profile_is_measured_as_the_weights_are_held(folders: Mapping[str, Path]) -> None:
    denoiser = load_denoiser(folders["pixart"], model="tiny", offload=True)
    parts = PartsInMemory(denoiser.parts, HostMemory(weights_bytes=lambda: 0))
    workload = Workload(model="tiny", width_px=SIDE_PX, height_px=SIDE_PX, batch=2)
    profile = measure_profile(
        AgentId("a"),
        MeasureProfile(request_id=1, workload=workload),
        denoiser,
        NoObserver(),
        lambda exchange: exchange,
        parts,
    )
    assert profile.offloaded
