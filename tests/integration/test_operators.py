"""Every product of every family goes through the operators that its model was loaded with, and each of them counts."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.measuring.profiled_step import RememberedRows
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.fakes.operators import CountingOperators
from tests.oracles.allocation import square_image
from tests.tiny_models.families import TINY_MAKES

EXAMPLE = Path(__file__).parents[2] / "examples" / "adding_a_model"
FORGETFUL = """
from mosaic_family import load_mosaic
from polyrhythm_agent.family_api import ModelFolder

def load(folder, **how):
    return load_mosaic(ModelFolder.open(folder.path), **how)
"""
FROM_OUTSIDE = "mosaic"
SIDE_PX = 128
STEP = 1
KINDS = ("linear", "conv2d", "scaled_dot_product_attention")
OTHER_PRODUCTS = (
    *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "inner", "einsum", "tensordot", "bilinear"),
    *("addmm", "addbmm", "baddbmm", "addmv", "conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d"),
    *("conv_transpose3d", "multi_head_attention_forward"),
)
"""Functions of torch that multiply matrices, and that no operator has."""


class Products(TorchFunctionMode):
    """Counts the products that torch is asked for, whoever asks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in KINDS or name in OTHER_PRODUCTS:
            self.calls[name] += 1
        return func(*args, **kwargs or {})


@pytest.fixture(params=[*TINY_MAKES, FROM_OUTSIDE])
def make(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the example's family, whose package is installed meanwhile, and of one that forgets the operators."""
    registered = tmp_path / "families-1.dist-info"
    registered.mkdir()
    (registered / "METADATA").write_text("Metadata-Version: 2.1\nName: families\nVersion: 1\n")
    (registered / "entry_points.txt").write_text(
        "[polyrhythm.families]\nMosaicPipeline = mosaic_family:load_mosaic\nForgetfulPipeline = forgetful_family:load\n"
    )
    (tmp_path / "forgetful_family.py").write_text(FORGETFUL)
    for place in (EXAMPLE, tmp_path):
        monkeypatch.syspath_prepend(place)
    return importlib.import_module("make_model").write_mosaic(tmp_path / "mosaic")


@pytest.fixture
def model(make: str, request: pytest.FixtureRequest) -> Path:
    """A tiny model of each family; nobody writes to it."""
    if make == FROM_OUTSIDE:
        return request.getfixturevalue("example")
    return request.getfixturevalue("folders")[make]


Condition: TypeAlias = Mapping[str, Tensor]


@torch.inference_mode()
def condition_of(denoiser: Denoiser) -> Condition:
    return denoiser.encode(square_image(denoiser, SIDE_PX))


@torch.inference_mode()
def forward(denoiser: Denoiser, condition: Condition, *, share: int = 1) -> Tensor:
    """Starts a picture and predicts a share of its rows; what the others hold is invented."""
    run = denoiser.start(square_image(denoiser, SIDE_PX), condition)
    rows = RowRange(begin=0, end=max(1, run.geometry.row_count // share))
    others = SoloExchange() if share == 1 else RememberedRows(rows=rows, geometry=run.geometry)
    x_BCHW = run.initial_noise()[:, :, run.geometry.latent_slice(rows)]
    return run.predict(x_BCHW, STEP, rows, others, NoObserver(), x0_BCHW=x_BCHW)


@pytest.mark.parametrize("share", [1, 2])
def test_every_product_goes_through_the_operators(model: Path, share: int) -> None:
    operators = CountingOperators()
    counted = load_denoiser(model, model="tiny", dtype=torch.float64, operators=operators)
    plain = load_denoiser(model, model="tiny", dtype=torch.float64)
    condition, products = condition_of(plain), Products()
    operators.calls.clear()  # of the small forward at loading, by which some families learn their layers' order
    with products:
        expected = forward(plain, condition, share=share)
    assert torch.equal(forward(counted, condition, share=share), expected)
    assert operators.calls_of_kinds == products.calls
    assert set(operators.calls) == set(operators.kinds), "layers that no picture needs"


def test_every_layer_counts(model: Path) -> None:
    operators = CountingOperators()
    denoiser = load_denoiser(model, model="tiny", dtype=torch.float64, operators=operators)
    condition = condition_of(denoiser)
    expected = forward(denoiser, condition)
    silent: list[str] = []
    for layer in operators.kinds:
        operators.disturbed = layer
        disturbed = forward(denoiser, condition)
        if torch.allclose(disturbed, expected, rtol=1e-9, atol=1e-9):
            silent.append(layer)
    assert not silent
    operators.disturbed = None
    assert torch.equal(forward(denoiser, condition), expected)


def test_a_layer_has_one_name_in_files_operators_and_exchange(make: str, model: Path) -> None:
    operators = CountingOperators()
    denoiser = load_denoiser(model, model="tiny", operators=operators)
    weights = {name for file in _denoiser_files(model) for name in load_file(file)}
    for layer, kind in operators.kinds.items():
        assert kind == KINDS[2] or f"{layer}.weight" in weights
    again = CountingOperators()
    load_denoiser(model, model="other", dtype=torch.bfloat16, operators=again)
    assert again.kinds == operators.kinds
    products = {layer.removesuffix(".products") for layer, kind in operators.kinds.items() if kind == KINDS[2]}
    convolutions = {layer for layer, kind in operators.kinds.items() if kind == KINDS[1]}
    normalisations = {name.removesuffix(".weight") for name in weights if "norm" in name}
    for layer in denoiser.geometry(square_image(denoiser, SIDE_PX)).layers:
        assert layer in products | convolutions | normalisations, layer
    assert products


def test_a_family_that_puts_nothing_in_their_hands_is_refused(example: Path) -> None:
    """Or it would run unchecked where checks are asked for."""
    index = example / "model_index.json"
    index.write_text(index.read_text().replace("MosaicPipeline", "ForgetfulPipeline"))
    with pytest.raises(ModelFolderError, match="the loader of ForgetfulPipeline installs no operators"):
        load_denoiser(example, model="tiny")


def _denoiser_files(model: Path) -> list[Path]:
    return [file for part in ("unet", "transformer", "denoiser") for file in (model / part).glob("*.safetensors")]
