"""Measures an exported demo model through diffusers, the way a user would run it.

Owns the listed prompts, the distance to the originals and the picture grid. Must not read training checkpoints.

The score of a prompt: every emoji is registered to the sample first (the place and scale, out of a grid, at which its
drawing on the captioned background differs least from the sample in pixels, at half size). The 64 that fit best are
drawn so at full size and encoded, and the one whose latent has the least squared distance to the sample's latent is
the nearest. All emoji get the same freedom, so none is favoured; chance is 1 in 256.

Shape legend: B samples, N emoji, M candidates among them, C channels, H, W pixels, latent pixels or frequencies,
I, J places.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from demo_model.autoencoder import measure
from demo_model.data import (
    CANONICAL_SCALE,
    COLOURS,
    COLOURS_RGB,
    NAMES,
    Painter,
    caption,
    held_out_colour,
    render_sprites,
)
from demo_model.family import Family
from demo_model.noise import noise_errors, signal_shares
from demo_model.text import CaptionTable

SIZE_PX = 128
STEPS = 25
GUIDANCE = 4.5
FIRST_SEED = 10_000
REGISTRATION_PX = 64
CANDIDATES = 64
REGISTRATION_SIDES_PX = (42, 44, 46, 48, 50, 52, 54, 56)
DIVERSITY_PROMPTS = ((0, 1), (70, 8), (140, 4), (210, 6))
DIVERSITY_SEEDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What the model made of (name, colour) pairs.

    Attributes:
        pairs: What was asked for.
        latents_BCHW: Scaled latents, as they left the sampler.
        images_BCHW: Decoded, RGB in [-1, 1].
    """

    pairs: list[tuple[int, int]]
    latents_BCHW: Tensor
    images_BCHW: Tensor


def listed_pairs() -> list[tuple[int, int]]:
    """The 64 pairs of the score: every fourth name, colours in turn, none held out."""
    names = range(0, len(NAMES), 4)
    return [(name, (_held_out(name) + 1 + i % (len(COLOURS) - 1)) % len(COLOURS)) for i, name in enumerate(names)]


def held_out_pairs() -> list[tuple[int, int]]:
    """The same 64 names, each on the colour on which it was never drawn for training."""
    return [(name, _held_out(name)) for name in range(0, len(NAMES), 4)]


def _held_out(name: int) -> int:
    return int(held_out_colour(torch.tensor(name)))


def load(family: Family, folder: Path) -> Any:
    """Load an exported folder as any user would, in float32 on the CPU.

    Any: every family has a pipeline class of its own, and what they have in common diffusers declares nowhere.
    """
    pipeline: Any = family.pipeline_class.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def sample(
    family: Family, pipeline: Any, pairs: list[tuple[int, int]], seeds: list[int], *, batch: int = 16
) -> Samples:
    """Generate one picture a pair, each from its own seed."""
    latents: list[Tensor] = []
    for start in range(0, len(pairs), batch):
        chosen = slice(start, start + batch)
        latents.append(
            pipeline(
                [caption(*pair) for pair in pairs[chosen]],
                height=SIZE_PX,
                width=SIZE_PX,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[chosen]],
                output_type="latent",
                **family.sampling_arguments(),
            ).images
        )
    latents_BCHW = torch.cat(latents)
    vae = pipeline.vae
    images = [vae.decode(part / vae.config["scaling_factor"]).sample.clamp(-1, 1) for part in latents_BCHW.split(batch)]
    return Samples(pairs=pairs, latents_BCHW=latents_BCHW, images_BCHW=torch.cat(images))


class Originals:
    """All emoji, ready to be laid over a sample at the place and scale where each fits best."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Render the emoji at every size of the registration grid."""
        self._vae = vae
        self._painter = Painter(SIZE_PX)
        self._spectra = {side: _spectrum(render_sprites(side)) for side in REGISTRATION_SIDES_PX}

    def register(self, image_CHW: Tensor, colour: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best scale ``[N]`` and place ``[N, 2]`` of each emoji on background ``colour``, and its cost ``[N]``.

        With Q the emoji's difference from the background and D the sample's, the squared error at a place is
        |D|^2 - 2 <D, Q> + |Q|^2: one correlation finds it for all places at once.
        """
        background_C11 = torch.tensor(COLOURS_RGB[COLOURS[colour]])[:, None, None] / 255
        small_CHW = F.avg_pool2d((image_CHW + 1) / 2, SIZE_PX // REGISTRATION_PX)
        difference_CHW = _spectrum(small_CHW - background_C11)
        best_N = torch.full((len(NAMES),), torch.inf)
        scale_N, place_N2 = torch.zeros(len(NAMES)), torch.zeros(len(NAMES), 2)
        for side, spectrum_NCHW in self._spectra.items():
            emoji_NCHW = spectrum_NCHW[:, :3] - spectrum_NCHW[:, 3:] * background_C11
            energy_N = torch.fft.irfft2(emoji_NCHW).square().sum(dim=(1, 2, 3))
            product_NHW = (difference_CHW * emoji_NCHW.conj()).sum(dim=1)
            places = REGISTRATION_PX - side + 1
            match_NIJ = torch.fft.irfft2(product_NHW)[:, :places, :places]
            match_N, index_N = match_NIJ.flatten(1).max(dim=1)
            cost_N = energy_N - 2 * match_N
            corner_N2 = torch.stack([index_N % places, index_N // places], dim=1)
            centre_N2 = 2 * (corner_N2 + side / 2) / REGISTRATION_PX - 1
            better_N = cost_N < best_N
            best_N[better_N] = cost_N[better_N]
            scale_N[better_N] = side / REGISTRATION_PX
            place_N2[better_N] = centre_N2[better_N]
        return scale_N, place_N2, best_N

    @torch.no_grad()
    def nearest(self, latent_CHW: Tensor, image_CHW: Tensor, colour: int) -> int:
        """The emoji that, registered to the sample, has the latent nearest to the sample's."""
        scale_N, place_N2, cost_N = self.register(image_CHW, colour)
        names_M = cost_N.topk(CANDIDATES, largest=False).indices
        colours_M = torch.full_like(names_M, colour)
        painted = self._painter.paint(names_M, colours_M, scale_N[names_M], place_N2[names_M])
        latent_MCHW = self._vae.encode(painted.images_BCHW).latent_dist.mean * self._vae.config["scaling_factor"]
        return int(names_M[(latent_MCHW - latent_CHW).square().mean(dim=(1, 2, 3)).argmin()])


def _spectrum(picture_CHW: Tensor) -> Tensor:
    return torch.fft.rfft2(picture_CHW, s=(REGISTRATION_PX, REGISTRATION_PX))


def score(samples: Samples, originals: Originals) -> dict[str, Any]:
    """Share of samples whose nearest original is the captioned emoji, and whose border has the captioned colour."""
    right_name, right_colour = 0, 0
    missed: list[str] = []
    palette_NC = torch.tensor(list(COLOURS_RGB.values())) / 255
    for (name, colour), latent_CHW, image_CHW in zip(
        samples.pairs, samples.latents_BCHW, samples.images_BCHW, strict=True
    ):
        nearest = originals.nearest(latent_CHW, image_CHW, colour)
        border = torch.cat([image_CHW[:, 0], image_CHW[:, -1], image_CHW[:, :, 0], image_CHW[:, :, -1]], dim=1)
        seen_C = (border.median(dim=1).values + 1) / 2
        right_colour += int((palette_NC - seen_C).square().sum(dim=1).argmin()) == colour
        right_name += nearest == name
        if nearest != name:
            missed.append(f"{caption(name, colour)}: nearest is {NAMES[nearest]}")
    count = len(samples.pairs)
    return {"prompts": count, "right_name": right_name / count, "right_colour": right_colour / count, "missed": missed}


def mean_pairwise_psnr_db(images_BCHW: Tensor) -> float:
    """Mean PSNR over all pairs of pictures; the lower, the more they differ."""
    pairs = itertools.combinations(images_BCHW, 2)
    values = [10 * torch.log10(4 / (first - second).square().mean()) for first, second in pairs]
    return float(torch.stack(values).mean())


@torch.no_grad()
def validation_losses(family: Family, pipeline: Any, *, count: int = 256) -> tuple[float, float]:
    """Weighted and plain noise loss on pictures drawn for this measurement only, at all noise levels evenly."""
    vae, generator = pipeline.vae, torch.Generator().manual_seed(FIRST_SEED)
    captions = CaptionTable(pipeline.text_encoder, family.token_table(pipeline.tokenizer))
    drawn = Painter(SIZE_PX).draw(count, generator)
    latents = [vae.encode(part).latent_dist.mean * vae.config["scaling_factor"] for part in drawn.images_BCHW.split(32)]
    text_BLD, mask_BL = captions.look_up(drawn.names_B, drawn.colours_B, torch.zeros(count, dtype=torch.bool))
    denoiser = getattr(pipeline, family.component)

    def predict(noisy_BCHW: Tensor, timestep_B: Tensor) -> Tensor:
        return family.predict_noise(denoiser, noisy_BCHW, timestep_B, text_BLD, mask_BL)

    error_B, weight_B = noise_errors(predict, torch.cat(latents), signal_shares(), generator)
    return float((error_B * weight_B).mean()), float(error_B.mean())


def grid(samples: Samples, *, columns: int, tile_px: int) -> Image.Image:
    """Samples, each with its original to the right, in a palette image."""
    names_B = torch.tensor([name for name, _ in samples.pairs])
    colours_B = torch.tensor([colour for _, colour in samples.pairs])
    centre_B2 = torch.zeros(len(names_B), 2)
    originals = Painter(SIZE_PX).paint(names_B, colours_B, torch.full((len(names_B),), CANONICAL_SCALE), centre_B2)
    both_BCHW = torch.stack([samples.images_BCHW, originals.images_BCHW], dim=1).flatten(0, 1)
    tiles_BCHW = F.interpolate(both_BCHW, (tile_px, tile_px), mode="bilinear", antialias=True).clamp(-1, 1)
    gutter_BCHW = F.pad(tiles_BCHW, (0, 2, 0, 2), value=1.0)
    rows = [torch.cat(list(row_BCHW), dim=2) for row_BCHW in gutter_BCHW.split(2 * columns)]
    sheet_HWC = ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous()
    return Image.fromarray(sheet_HWC.numpy()).quantize(256)


def evaluate(family: Family, folder: Path, *, prompts: int) -> dict[str, Any]:
    """Measure the model in ``folder`` on the first ``prompts`` pairs of each list and draw them; returns numbers."""
    pipeline = load(family, folder)
    originals = Originals(pipeline.vae)
    seeds = [FIRST_SEED + i for i in range(prompts)]
    listed = sample(family, pipeline, listed_pairs()[:prompts], seeds)
    grid(listed, columns=8, tile_px=80).save(folder / "samples.png", optimize=True)
    held_out = sample(family, pipeline, held_out_pairs()[:prompts], seeds)
    grid(held_out, columns=8, tile_px=80).save(folder / "samples-held-out.png", optimize=True)
    diversity: dict[str, float] = {}
    for pair in DIVERSITY_PROMPTS:
        several = sample(
            family, pipeline, [pair] * DIVERSITY_SEEDS, list(range(FIRST_SEED, FIRST_SEED + DIVERSITY_SEEDS))
        )
        diversity[caption(*pair)] = round(mean_pairwise_psnr_db(several.images_BCHW), 2)
    weighted_loss, plain_loss = validation_losses(family, pipeline)
    return {
        "steps": STEPS,
        "guidance": GUIDANCE,
        "listed": score(listed, originals),
        "held_out": score(held_out, originals),
        "mean_pairwise_psnr_db": diversity,
        "weighted_loss": round(weighted_loss, 4),
        "plain_loss": round(plain_loss, 4),
        "autoencoder_psnr_db": round(measure(pipeline.vae, seed=FIRST_SEED)["psnr_db"], 1),
    }
