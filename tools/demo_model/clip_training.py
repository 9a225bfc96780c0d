"""Teaches the UNet's text encoder what captions look like, before there is a denoiser.

Owns that training. As in ``text_training``, tokens have to tell what the caption describes through linear maps that are
thrown away after. CLIP's attention looks back only, so this is asked of the tokens from the end of the caption on. And
since a UNet has no position embedding, each of the last sixteen tokens tells of its own part of the emoji: where the
UNet draws the upper left, it can look at the token of the upper left.

Shape legend: B captions, L tokens, D channels, N emoji, P parts, Q numbers of a part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.clip import LENGTH, WIDTH, new_clip_encoder
from demo_model.data import COLOURS, NAMES, render_sprites
from demo_model.text import TokenTable
from demo_model.text_steps import TextCourse, run_course

COURSE = TextCourse(steps=1600, batch=64, told_every=100)
PARTS_A_SIDE = 4
PART_PX = 6
PARTS = PARTS_A_SIDE**2


class Readout(nn.Module):
    """Linear maps from a token's output to what the caption describes."""

    def __init__(self) -> None:
        """Three heads, untrained."""
        super().__init__()
        self.name = nn.Linear(WIDTH, len(NAMES))
        self.colour = nn.Linear(WIDTH, len(COLOURS))
        self.part = nn.Linear(WIDTH, 4 * PART_PX**2)

    def loss(self, text_BPD: Tensor, names_B: Tensor, colours_B: Tensor, parts_NPQ: Tensor) -> Tensor:
        """Cross entropies of name and colour at every token, plus the squared error of each token's own part."""
        names_BP, colours_BP = (index_B[:, None].expand(-1, PARTS) for index_B in (names_B, colours_B))
        name_loss = F.cross_entropy(self.name(text_BPD).flatten(0, 1), names_BP.flatten())
        colour_loss = F.cross_entropy(self.colour(text_BPD).flatten(0, 1), colours_BP.flatten())
        return name_loss + colour_loss + F.mse_loss(self.part(text_BPD), parts_NPQ[names_B])


def standard_parts() -> Tensor:
    """The emoji cut 4 x 4 ``[N, P, Q]``, zero-mean over the emoji, of standard deviation 1 overall."""
    sprites_NCHW = render_sprites(PARTS_A_SIDE * PART_PX)
    tiles_NCIJHW = sprites_NCHW.unfold(2, PART_PX, PART_PX).unfold(3, PART_PX, PART_PX)
    parts_NPQ = tiles_NCIJHW.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    centred_NPQ = parts_NPQ - parts_NPQ.mean(dim=0)
    return centred_NPQ / centred_NPQ.std()


def train_clip_encoder(tokenizer: CLIPTokenizer, table: TokenTable, *, seed: int, threads: int) -> CLIPTextModel:
    """Train a text encoder on captions that are not held out, on as many cores as are free, at most ``threads``."""
    torch.manual_seed(seed)
    encoder, readout = new_clip_encoder(len(tokenizer)), Readout()
    parts_NPQ = standard_parts()
    nothing_dropped_B = torch.zeros(COURSE.batch, dtype=torch.bool)

    def loss_of(names_B: Tensor, colours_B: Tensor) -> Tensor:
        ids_BL, _ = table.look_up(names_B, colours_B, nothing_dropped_B)
        with torch.autocast("cpu", torch.bfloat16):
            text_BPD = encoder(ids_BL)[0][:, LENGTH - PARTS :]
            return readout.loss(text_BPD, names_B, colours_B, parts_NPQ)

    run_course(COURSE, (encoder, readout), loss_of, seed=seed, threads=threads)
    return encoder.eval()
