"""Which model a fleet of the command's own loads, as far as the client can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm_client.cli.own_fleet import FleetChoice, local_model


def test_nothing_said_is_the_default_model() -> None:
    assert local_model(FleetChoice()) == DEFAULT_MODEL


@pytest.mark.parametrize("model", [*SHIPPED_MODELS, "org/name"])
def test_names_are_left_to_the_agents(model: str) -> None:
    assert local_model(FleetChoice(model=model)) == model


def test_an_empty_name_is_none() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^model: '' is neither a model that ships"):
        local_model(FleetChoice(model=""))


def test_a_name_of_no_model_is_answered_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"^model: 'demo' is .* ships \(demo-unet, demo-transformer\) nor "):
        local_model(FleetChoice(model="demo"))
