"""Pictures that are none: not finite, or black all over; and those that only look empty."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from polyrhythm_agent.denoiser.decoding import LatentScaling, decode_latent
from polyrhythm_agent.errors import ModelFolderError, PictureBlackError, PictureNotFiniteError

LATENT_BCHW = torch.zeros(1, 4, 2, 2)


def decoded(pixels_CHW: Tensor) -> Tensor:
    """What is made of what an autoencoder returns, -1 for black and 1 for white."""
    vae: Any = SimpleNamespace(
        device=torch.device("cpu"),
        dtype=torch.float32,
        config={"block_out_channels": (1, 1, 1)},
        decode=lambda latent_BCHW, return_dict: (pixels_CHW[None],),
    )
    return decode_latent(vae, LATENT_BCHW, LatentScaling(factor=1.0))


def picture(level: float) -> Tensor:
    """One grey all over, as a share of white."""
    return torch.full((3, 8, 8), 2.0 * level - 1.0)


@pytest.mark.parametrize("level", [0.0, -3.0, 1.2 / 255])
def test_a_black_picture_is_an_error(level: float) -> None:
    with pytest.raises(PictureBlackError, match=r"picture: black all over, the brightest of its values is [01] of 255"):
        decoded(picture(level))


@pytest.mark.parametrize("level", [2 / 255, 0.5, 1.0])
def test_any_other_colour_all_over_is_a_picture(level: float) -> None:
    assert set(decoded(picture(level)).flatten().tolist()) == {round(level * 255)}


def test_black_with_one_bright_pixel_is_a_picture() -> None:
    pixels_CHW = picture(0.0)
    pixels_CHW[1, 3, 4] = 1.0
    assert int(decoded(pixels_CHW).max()) == 255


def test_a_picture_that_is_not_finite_is_told_as_such_though_it_would_come_out_black() -> None:
    with pytest.raises(PictureNotFiniteError):
        decoded(torch.full((3, 8, 8), float("nan")))


CONFIG = {
    "scaling_factor": 0.5,
    "latent_channels": 4,
    "latents_mean": [1.0, 2.0, 3.0, 4.0],
    "latents_std": [1.0, 1.0, 2.0, 2.0],
}


@pytest.mark.parametrize(
    ("changes", "by_channel", "expected"),
    [
        ({}, True, [3.0, 4.0, 7.0, 8.0]),
        ({}, False, [2.0] * 4),
        ({"latents_mean": None}, True, [2.0] * 4),
        ({"latents_std": None}, True, [2.0] * 4),
        ({"latents_mean": "any", "latents_std": [1.0]}, False, [2.0] * 4),
        ({"scaling_factor": -1}, False, [-1.0] * 4),
    ],
)
def test_an_autoencoder_gets_what_the_familys_pipeline_makes_of_a_latent(
    changes: dict[str, Any], by_channel: bool, expected: list[float]
) -> None:
    taken_BCHW = LatentScaling.read({**CONFIG, **changes}, by_channel=by_channel).undo(torch.ones(1, 4, 2, 2))
    assert taken_BCHW[0, :, 1, 0].tolist() == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scaling_factor": None}, r"vae: scaling_factor must be a number other than 0, got None"),
        ({"scaling_factor": 0}, r"scaling_factor .* got 0"),
        ({"scaling_factor": "0.18"}, r"scaling_factor .* got '0.18'"),
        ({"scaling_factor": True}, r"scaling_factor .* got True"),
        ({"scaling_factor": float("nan")}, r"scaling_factor .* got nan"),
        ({"latents_mean": [1.0]}, r"vae: latents_mean must be 4 numbers, one a latent channel, got \[1.0\]"),
        ({"latents_mean": 1.0}, r"latents_mean must be 4 numbers"),
        ({"latents_std": [1.0, 1.0, 1.0, None]}, r"vae: latents_std must be 4 numbers"),
        ({"latents_std": {"0": 1.0}}, r"latents_std must be 4 numbers"),
    ],
    ids=str,
)
def test_a_config_that_names_no_scale_is_refused_by_its_field(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelFolderError, match=told):
        LatentScaling.read({**CONFIG, **changes}, by_channel=True)
