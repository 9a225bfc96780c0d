"""Teaches PixArt's text encoder what captions look like, before there is a denoiser.

Owns that training. Every token's output has to tell, through linear maps that are thrown away after, the
emoji, the background and a thumbnail of the emoji. Trained by the denoiser's loss alone, an encoder this small learns
the background and drops the name: for thousands of steps nothing rewards knowing it.

Shape legend: B captions, L tokens, D channels, N emoji, P numbers of a thumbnail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5EncoderModel, T5Tokenizer

from demo_model.data import COLOURS, NAMES, render_sprites
from demo_model.text import WIDTH, TokenTable, new_text_encoder
from demo_model.text_steps import TextCourse, run_course

COURSE = TextCourse(steps=2500, batch=128, told_every=250)
THUMBNAIL_PX = 12


class Readout(nn.Module):
    """Linear maps from a token's output to what the caption describes."""

    def __init__(self) -> None:
        """Three heads, untrained."""
        super().__init__()
        self.name = nn.Linear(WIDTH, len(NAMES))
        self.colour = nn.Linear(WIDTH, len(COLOURS))
        self.thumbnail = nn.Linear(WIDTH, 4 * THUMBNAIL_PX**2)

    def loss(self, text_TD: Tensor, names_T: Tensor, colours_T: Tensor, thumbnails_NP: Tensor) -> Tensor:
        """Cross entropies of name and colour, plus the thumbnail's squared error; T is all tokens of a batch."""
        name_loss = F.cross_entropy(self.name(text_TD), names_T)
        colour_loss = F.cross_entropy(self.colour(text_TD), colours_T)
        return name_loss + colour_loss + F.mse_loss(self.thumbnail(text_TD), thumbnails_NP[names_T])


def standard_thumbnails() -> Tensor:
    """The emoji at 12 px ``[N, P]``, zero-mean over the emoji, of standard deviation 1 overall."""
    thumbnails_NP = render_sprites(THUMBNAIL_PX).flatten(1)
    centred_NP = thumbnails_NP - thumbnails_NP.mean(dim=0)
    return centred_NP / centred_NP.std()


def train_t5_encoder(tokenizer: T5Tokenizer, table: TokenTable, *, seed: int, threads: int) -> T5EncoderModel:
    """Train a text encoder on captions that are not held out; a minute on one core."""
    torch.manual_seed(seed)
    encoder, readout = new_text_encoder(len(tokenizer)), Readout()
    thumbnails_NP = standard_thumbnails()
    nothing_dropped_B = torch.zeros(COURSE.batch, dtype=torch.bool)

    def loss_of(names_B: Tensor, colours_B: Tensor) -> Tensor:
        ids_BL, mask_BL = table.look_up(names_B, colours_B, nothing_dropped_B)
        text_BLD = encoder(ids_BL, attention_mask=mask_BL)[0]
        caption_T, token_T = mask_BL.nonzero(as_tuple=True)
        return readout.loss(text_BLD[caption_T, token_T], names_B[caption_T], colours_B[caption_T], thumbnails_NP)

    run_course(COURSE, (encoder, readout), loss_of, seed=seed, threads=threads)
    return encoder.eval()
