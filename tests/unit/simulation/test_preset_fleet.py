"""Fleets from presets: data sheets and architectures, assumed seconds, and told so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageRequest
from polyrhythm_coordinator.simulation.__main__ import main
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import parse_fleet
from polyrhythm_coordinator.simulation.fleet_files.fleet_text import fleet_text
from polyrhythm_coordinator.simulation.fleet_files.preset_fleet import (
    GIB,
    PEAK_SHARE,
    cards,
    preset_fleet,
    preset_notices,
)
from polyrhythm_coordinator.simulation.report.outcome import simulate

MODELS = ("sd15", "sdxl", "pixart-512", "pixart-1024")
REQUEST = ImageRequest(prompt="simulated", steps=4)


@pytest.mark.parametrize("model", MODELS)
def test_every_card_makes_every_model_at_its_own_size_and_can_be_written_down(model: str) -> None:
    fleet = preset_fleet(tuple(cards()), model)
    assert parse_fleet(fleet_text(fleet, origin="Preset.")) == fleet
    for device in fleet.devices:
        card = cards()[device.agent]
        assert (device.memory_bytes, device.origin.card) == (card.memory_gib * GIB, card.card)
    assert all(link.bytes_per_s < 2e9 for link in fleet.links.values()), "two slots and the wire, one after another"


def test_seconds_are_operations_over_a_share_of_the_peak() -> None:
    fast, slow = preset_fleet(("rtx-4090", "gtx-1080"), "sdxl").devices
    rows = 32
    assert fast.fixed_s + rows * fast.per_row_s == pytest.approx(2 * 6.761e12 / (165.2e12 * PEAK_SHARE), rel=1e-3)
    assert slow.per_row_s / fast.per_row_s == pytest.approx(165.2 / 8.9)


def test_cards_that_are_alike_are_numbered_and_share_a_picture() -> None:
    fleet = preset_fleet(("rtx-3060", "rtx-3060"), "pixart-1024")
    assert [device.agent for device in fleet.devices] == ["rtx-3060-0", "rtx-3060-1"]
    assert {usage.agent for usage in simulate(fleet, REQUEST).reports[0].agents} == {"rtx-3060-0", "rtx-3060-1"}


@pytest.mark.parametrize(
    ("names", "model", "told"),
    [(("rtx-1",), "sdxl", "cards: unknown rtx-1; known: gtx-1080"), (("t4",), "x", "model-preset: 'x' is not known")],
)
def test_what_is_not_known_is_refused_with_what_is(names: tuple[str, ...], model: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        preset_fleet(names, model)


def test_cards_whose_agents_would_choose_another_arithmetic_are_named() -> None:
    _, second = preset_notices(("rtx-4090", "gtx-1080-ti", "gtx-1080", "gtx-1080"), "float16")
    assert second.endswith(
        "; agents on GeForce GTX 1080 Ti, GeForce GTX 1080 choose float32, with twice the weights, unless told"
    )
    assert {name for name, card in cards().items() if not card.tensor_cores} == {"gtx-1080", "gtx-1080-ti"}


def test_figures_of_data_sheets_are_those_of_dense_products() -> None:
    """With fp32 accumulation GeForce cards reach 2 times their fp32 peak, others 4 times; sparse figures are double."""
    fp32 = {"rtx-3060": 12.74, "rtx-3080": 29.77, "rtx-3090": 35.58, "rtx-4080": 48.74, "rtx-4090": 82.58}
    for name, tflops in fp32.items():
        assert cards()[name].tflops == pytest.approx(2 * tflops, rel=5e-3)
    for name, tflops in {"a10": 31.2, "l4": 30.3}.items():
        assert cards()[name].tflops == pytest.approx(4 * tflops, rel=5e-3)


def test_the_account_says_that_nothing_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fleet.toml"
    assert main(["--cards", "t4, t4", "--model-preset", "sd15", "--steps", "4", "--output", str(path)]) == 0
    first, second = json.loads(capsys.readouterr().out)["notices"]
    assert first.startswith("preset, not measured: seconds are figures of data sheets, 50% of each card's peak")
    assert second == "every card is taken to compute in float16"
    assert path.read_text().startswith("# Preset, not measured: t4, t4 with sd15.")
