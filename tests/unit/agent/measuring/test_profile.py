"""The measured line t(rows) = fixed + per_row * rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from torch import Tensor

from polyrhythm.ids import AgentId, LayerId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.profile import Workload
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import MeasureProfile
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.measuring.encode_decode import PartUse, measure_decoding, measure_encoding
from polyrhythm_agent.measuring.profile import fit_line, measure_profile, row_counts
from polyrhythm_agent.measuring.profiled_step import RememberedRows
from polyrhythm_agent.memory.device_memory import HostMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports.layers import ExchangedLayer
from tests.tiny_models.layers import geometry
from tests.tiny_models.transformers import tiny_pixart_folder


def test_an_exact_line_is_found() -> None:
    assert fit_line([(16, 0.1 + 16 * 0.02), (8, 0.1 + 8 * 0.02), (4, 0.1 + 4 * 0.02)]) == pytest.approx((0.1, 0.02))


def test_a_negative_intercept_becomes_a_line_through_the_origin() -> None:
    fixed_s, per_row_s = fit_line([(16, 0.32), (8, 0.12)])
    assert fixed_s == 0.0
    assert 0.015 < per_row_s < 0.02


def test_one_point_gives_a_proportional_cost() -> None:
    assert fit_line([(4, 0.2)]) == pytest.approx((0.0, 0.05))


@pytest.mark.parametrize(("rows", "expected"), [(16, (2, 4, 8, 12, 16)), (3, (1, 2, 3)), (1, (1,))])
def test_row_counts_span_the_picture(rows: int, expected: tuple[int, ...]) -> None:
    assert row_counts(rows, whole=True) == expected


def test_a_whole_picture_is_measured_as_one_device_makes_it() -> None:
    """Group norms take another way where others hold rows, which cost a UNet a tenth of a forward in a measurement."""
    norm = LayerId("norm")
    layer = ExchangedLayer(kind=LayerKind.MOMENTS, shrink=1, columns=4, features=2, batch=1, precise=True)
    picture = geometry(4, {norm: layer}, unit=1, channels=4, width=4)
    whole, half = (
        RememberedRows(rows=RowRange(begin=0, end=rows), geometry=picture, exchanges=lambda: None) for rows in (4, 2)
    )
    alone, own_MBG = SoloExchange(), torch.ones(2, 1, 2)
    assert whole.whole is alone.whole is True
    assert whole.halo(norm, own_MBG) == alone.halo(norm, own_MBG)
    assert whole.gather(norm, own_MBG) is alone.gather(norm, own_MBG)
    assert half.whole is False
    assert [part.rows for part in half.collect(norm, own_MBG)] == [RowRange(begin=2, end=4), RowRange(begin=0, end=2)]


def test_beside_others_no_device_makes_the_whole_picture() -> None:
    assert row_counts(16, whole=False) == (2, 4, 8, 12)


@pytest.mark.parametrize("points", [50, 4, 1])
def test_a_model_that_was_distilled_at_few_points_is_measured(tmp_path: Path, points: int) -> None:
    folder = tiny_pixart_folder(tmp_path / "tiny", scheduler=LCMScheduler(original_inference_steps=points))
    denoiser = load_denoiser(folder, model="tiny")
    command = MeasureProfile(
        request_id=1, workload=Workload(model="tiny", width_px=64, height_px=64, batch=1), seconds=0.0
    )
    parts = PartsInMemory(denoiser.parts, HostMemory(weights_bytes=lambda: 0))
    profile = measure_profile(AgentId("a"), command, denoiser, NoObserver(), lambda exchange: exchange, parts)
    assert profile.per_row_s > 0


class Decoder:
    """A denoiser of which only the decoding is asked, which fails."""

    def __init__(self, reason: str) -> None:
        self.facts = SimpleNamespace(memory=None, resident_bytes=0)
        self._reason = reason

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        raise RuntimeError(self._reason)


class ColdPart:
    """A denoiser whose text encoder and autoencoder take a second a latent row, and ten more when first used."""

    def __init__(self) -> None:
        self.facts = SimpleNamespace(memory=None, resident_bytes=0)
        self.rows: list[int] = []
        self.now_s = 0.0

    def empty_condition(self, image: ImageSpec) -> dict[str, Tensor]:
        del image
        return {"text": torch.zeros(1)}

    def encode(self, image: ImageSpec) -> dict[str, Tensor]:
        return {"text": self.decode(self.empty_condition(image)["text"].view(1, 1, 1, 1))}

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        self.now_s += latent_BCHW.shape[2] + (0 if self.rows else 10)
        self.rows.append(latent_BCHW.shape[2])
        return latent_BCHW


def measure(decoder: Any, *, rows: int = 4, **options: Any) -> PartUse:
    parts = PartsInMemory((), HostMemory(weights_bytes=lambda: 0))
    image: Any = None  # only a model that knows its memory is asked for the picture's size
    return measure_decoding(torch.zeros(1, 1, rows, 4), image, decoder, NoObserver(), parts, **options)


@pytest.mark.parametrize(
    ("rows", "seconds", "decoded", "expected_s"),
    [
        (8, 50.0, [2, 8], 8.0),  # the quarter warms up for the whole
        (8, 20.0, [2, 2, 8], 8.0),  # only while it is cold the whole seems to be too long
        (40, 20.0, [10, 10], 40.0),  # the whole is too long, a second quarter is not
        (40, 15.0, [10], 80.0),  # nor is there time for that
        (2, 50.0, [2, 2], 2.0),  # there is no quarter
        (2, 5.0, [2], 12.0),
    ],
)
def test_decoding_is_timed_warm_where_there_is_time(
    rows: int, seconds: float, decoded: list[int], expected_s: float
) -> None:
    decoder = ColdPart()
    use = measure(decoder, rows=rows, seconds=seconds, clock_s=lambda: decoder.now_s)
    assert (decoder.rows, use.seconds) == (decoded, expected_s)


@pytest.mark.parametrize(("seconds", "times", "expected_s"), [(11.0, 2, 1.0), (10.0, 1, 11.0)])
def test_encoding_is_timed_warm_where_there_is_time(seconds: float, times: int, expected_s: float) -> None:
    encoder: Any = ColdPart()
    image: Any = None
    parts = PartsInMemory((), HostMemory(weights_bytes=lambda: 0))
    _, use = measure_encoding(image, encoder, NoObserver(), parts, seconds=seconds, clock_s=lambda: encoder.now_s)
    assert (len(encoder.rows), use.seconds) == (times, expected_s)


def test_a_part_that_the_host_has_no_memory_for_has_no_room() -> None:
    assert measure(Decoder("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")).output is None


def test_another_failure_of_a_part_is_no_lack_of_room() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        measure(Decoder("shapes cannot be multiplied"))
