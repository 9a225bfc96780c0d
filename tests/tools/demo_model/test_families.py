"""What the training needs of an architecture, for each of the two demo models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_model.denoiser import Recipe, Stage, Training, learning_rate
from demo_model.families import FAMILIES, UnknownFamilyError, family_of
from demo_model.family import Family
from demo_model.noise import noise_errors, signal_shares
from demo_model.optimizers import new_optimizers
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn

TOKENS = 32
WIDTH = 128


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    return list(model.parameters())


def _inputs(size: int = 8, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    noisy_BCHW = torch.randn(batch, 4, size, size, generator=generator)
    text_BLD = torch.randn(batch, TOKENS, WIDTH, generator=generator)
    return noisy_BCHW, torch.full((batch,), 700), text_BLD, torch.ones(batch, TOKENS, dtype=torch.long)


def _shaken(family: Family) -> Any:
    """A denoiser none of whose branches is zero any more."""
    torch.manual_seed(5)
    denoiser = family.new_denoiser()
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return denoiser


def test_an_untrained_denoiser_predicts_no_noise(family: Family) -> None:
    noisy_BCHW, timestep_B, text_BLD, mask_BL = _inputs()
    predicted_BCHW = family.predict_noise(family.new_denoiser(), noisy_BCHW, timestep_B, text_BLD, mask_BL)
    assert predicted_BCHW.shape == noisy_BCHW.shape
    assert not predicted_BCHW.any()


def test_the_training_attention_computes_what_the_exported_one_does(family: Family) -> None:
    denoiser = _shaken(family)
    with torch.no_grad():
        trained_BCHW = family.predict_noise(denoiser, *_inputs())
        denoiser.set_attn_processor(AttnProcessor2_0())  # diffusers' own
        exported_BCHW = family.predict_noise(denoiser, *_inputs())
    assert trained_BCHW.abs().mean() > 1e-3
    assert torch.allclose(trained_BCHW, exported_BCHW, atol=1e-4)


def test_captions_reach_the_prediction(family: Family) -> None:
    denoiser = _shaken(family)
    noisy_BCHW, timestep_B, text_BLD, mask_BL = _inputs()
    with torch.no_grad():
        one_BCHW = family.predict_noise(denoiser, noisy_BCHW, timestep_B, text_BLD, mask_BL)
        other_BCHW = family.predict_noise(denoiser, noisy_BCHW, timestep_B, -text_BLD, mask_BL)
    assert not torch.allclose(one_BCHW, other_BCHW, atol=1e-3)


def test_every_weight_has_one_optimizer(family: Family) -> None:
    denoiser = family.new_denoiser()
    muon = [id(p) for p in family.muon_weights(denoiser)]
    adamw = new_optimizers(denoiser, family.muon_weights(denoiser), 1e-3)["adamw"]
    others = [id(p) for group in adamw.param_groups for p in group["params"]]
    assert len(set(muon)) == len(muon)
    assert sorted(muon + others) == sorted(id(p) for p in _parameters(denoiser))
    assert sum(p.numel() for p in family.muon_weights(denoiser)) > 0.6 * sum(p.numel() for p in _parameters(denoiser))


def test_a_few_steps_lower_the_loss(family: Family) -> None:
    training = Training.start(family, seed=2, peak_rate=1e-3)
    latent_BCHW = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    _, _, text_BLD, mask_BL = _inputs(batch=4)
    losses: list[float] = []
    for _ in range(6):
        error_B, weight_B = noise_errors(
            lambda x_BCHW, t_B: training.predict(x_BCHW, t_B, text_BLD=text_BLD, mask_BL=mask_BL),
            latent_BCHW,
            signal_shares(),
            torch.Generator().manual_seed(6),
        )
        loss = (error_B * weight_B).mean()
        loss.backward()
        for optimizer in training.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_family_is_known_by_the_pipeline_that_a_folder_names(family: Family, tmp_path: Path) -> None:
    index = {"_class_name": family.pipeline_class.__name__}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert family_of(tmp_path) is family


def test_a_foreign_pipeline_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UnknownFamilyError, match=r"FluxPipeline.*PixArtAlphaPipeline, StableDiffusionPipeline"):
        family_of(tmp_path)


def test_almost_no_picture_is_left_at_the_last_step() -> None:
    shares_T = signal_shares()
    assert shares_T.diff().max() < 0
    assert shares_T[-1].sqrt() < 0.01


def test_the_learning_rate_warms_up_and_decays() -> None:
    stage = Stage(size_px=64, batch=8, end_step=1000)
    recipe = Recipe(stages=(stage,), peak_rate=2e-3, decay_steps=200, seed=1, save_every_s=60, threads=1)
    assert learning_rate(0, recipe) == pytest.approx(2e-5)
    assert learning_rate(500, recipe) == pytest.approx(2e-3)
    assert learning_rate(900, recipe) == pytest.approx(1e-3)
    assert learning_rate(1000, recipe) == 0
