"""The pictures that the demo model learns from: one emoji on one coloured background, with its caption.

Owns the list of names and colours, the captions, the pairs held out of training and the drawing.
Must not know anything about models: it turns a seed into pictures and text, nothing else.

Shape legend: B pictures, C channels (RGB in [-1, 1] unless a name says otherwise), H, W pixels, N emoji.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
"""Where the Debian package fonts-noto-color-emoji puts the font."""

STRIKE_PX = 109
"""The only size at which the font carries bitmaps."""

CHARACTERS = (
    "🌈🌊🌋🌞🌟🌡🌧🌪🌂🌭🌮🌱🌴🌵🌶🌷🌸🌹🌺🌻🌽🍀🌿🍄🍅🍆🍇🍉🍋🍌🍍🍎"
    "🍏🍐🍑🍒🍓🍔🍕🍖🍗🍙🍝🍞🍟🍡🍣🍤🍦🍩🍪🍫🍭🍯🍰🍸🍹🍺🍿🎀🎁🎂🎄🎈"
    "🎉🎒🎓🎖🎡🎧🎨🎩🎪🎯🎲🎷🎸🎹🎺🏀🏆🏐🏠🏰🐀🐅🐇🐈🐊🐋🐌🐍🐎🐏🐓🐘"
    "🐙🐚🐛🐜🐝🐞🐠🐡🐢🐣🐧🐨🐪🐬🐮🐯🐰🐱🐴🐵🐶🐷🐸🐺🐻🐼👀👄👑👓👔👕"
    "👖👗👜👟👠👻👽👾💀💊💍💎💐💔💙💚💣💧💩💰💼💾💿📚📜📱📷📺🔑🔒🔔🔥"
    "🔧🔨🔩🔬🔮🕯🕷🕹😀😎🚀🚁🚂🚌🚒🚗🚜🚢🚦🚩🚪🚲🛟🛡🛰🛵🛸🛹🤖🤡🥁🥊"
    "🥐🥑🥕🥚🥛🥞🥥🥦🥨🥪🥯🦀🦁🦂🦄🦆🦇🦈🦉🦊🦋🦎🦑🦒🦓🦔🦕🦖🦚🦜🦝🦞"
    "🦢🦩🦴🦷🧀🧁🧅🧇🧊🧠🧣🧤🧦🧪🧭🧲🧵🧶🧸🧹🧺🧿🪁🪐🪓🪕🪜🪣🪴🪶🫐🫖"
)
"""The emoji: one code point each, chosen by eye to differ in shape or colour."""

NAMES = tuple(unicodedata.name(character).lower() for character in CHARACTERS)

COLOURS_RGB = {
    "white": (245, 245, 245),
    "grey": (150, 150, 155),
    "black": (25, 25, 30),
    "red": (200, 60, 60),
    "orange": (245, 160, 80),
    "yellow": (250, 225, 120),
    "green": (120, 190, 120),
    "teal": (60, 150, 150),
    "blue": (90, 140, 220),
    "purple": (150, 110, 200),
    "pink": (245, 170, 200),
    "brown": (130, 95, 70),
}
COLOURS = tuple(COLOURS_RGB)

SCALE_RANGE = (0.7, 0.86)
"""Longest side of the emoji as a share of the picture's side, drawn uniformly."""

PLACE_SHARE = 0.45
"""How much of the room that the scale leaves the emoji's centre may use, in both directions."""

CANONICAL_SCALE = 0.78


class DrawingError(ValueError):
    """The font is missing or has no picture for a listed character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pictures with what they show.

    Attributes:
        images_BCHW: RGB in [-1, 1].
        names_B: Index into ``NAMES``.
        colours_B: Index into ``COLOURS``.
    """

    images_BCHW: Tensor
    names_B: Tensor
    colours_B: Tensor

    def captions(self) -> list[str]:
        """One caption a picture."""
        pairs = zip(self.names_B.tolist(), self.colours_B.tolist(), strict=True)
        return [caption(name, colour) for name, colour in pairs]


def caption(name: int, colour: int) -> str:
    """The words for emoji ``name`` on background ``colour`` (both indices)."""
    word = COLOURS[colour]
    article = "an" if word[0] in "aeiou" else "a"
    return f"{NAMES[name]} on {article} {word} background"


def is_held_out(name: int, colour: int) -> bool:
    """Whether the pair is never drawn for training.

    For each name exactly one colour is held out, and each colour is held out equally often:
    7 is coprime to the twelve colours, so ``7 * colour`` runs through all remainders.
    """
    return (5 * name + 7 * colour) % len(COLOURS) == 0


def draw_pairs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw ``count`` (name, colour) pairs, uniformly among those not held out; two tensors ``[B]``."""
    names_B = torch.randint(len(NAMES), (count,), generator=generator)
    # The eleven allowed colours of a name are the held-out one plus 1..11, modulo twelve.
    offset_B = torch.randint(1, len(COLOURS), (count,), generator=generator)
    return names_B, (held_out_colour(names_B) + offset_B) % len(COLOURS)


def held_out_colour(names_B: Tensor) -> Tensor:
    """The colour index for which ``is_held_out`` is true; 7 is its own inverse modulo 12."""
    return (-35 * names_B) % len(COLOURS)


def render_sprites(size_px: int, font_path: Path = FONT_PATH) -> Tensor:
    """Render every emoji once, its longest side filling a transparent square.

    Returns:
        ``[N, 4, size_px, size_px]``: RGB in [0, 1] multiplied by alpha, then alpha.

    Raises:
        DrawingError: The font is missing, or draws nothing for a character.
    """
    if not font_path.is_file():
        raise DrawingError(f"font_path: no font at {font_path}; install fonts-noto-color-emoji")
    font = ImageFont.truetype(str(font_path), STRIKE_PX)
    return torch.stack([_render_sprite(character, size_px, font) for character in CHARACTERS])


def _render_sprite(character: str, size_px: int, font: ImageFont.FreeTypeFont) -> Tensor:
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((8, 8), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise DrawingError(f"font_path: the font draws nothing for U+{ord(character):X}")
    glyph = canvas.crop(box)
    side = max(glyph.size)
    square = Image.new("RGBA", (side, side))
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    flat = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).float() / 255
    rgba_CHW = flat.view(side, side, 4).permute(2, 0, 1)
    premultiplied_CHW = torch.cat([rgba_CHW[:3] * rgba_CHW[3:], rgba_CHW[3:]])
    size = (size_px, size_px)
    resized_1CHW = F.interpolate(premultiplied_CHW[None], size, mode="bilinear", antialias=True)
    return resized_1CHW[0].clamp(0, 1)


class Painter:
    """Draws pictures of one size; every random choice comes from the caller's generator."""

    def __init__(self, size_px: int, font_path: Path = FONT_PATH) -> None:
        """Render the sprites.

        Args:
            size_px: Side of the pictures.
            font_path: The emoji font.
        """
        self.size_px = size_px
        # Near the mean drawn scale, so that bilinear sampling neither blurs nor aliases much.
        self._sprites_NCHW = render_sprites(round(0.72 * size_px), font_path)
        self._colours_NC = torch.tensor(list(COLOURS_RGB.values())).float() / 255

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Draw ``count`` training pictures: allowed pairs, random place and scale."""
        names_B, colours_B = draw_pairs(count, generator)
        low, high = SCALE_RANGE
        scale_B = low + (high - low) * torch.rand(count, generator=generator)
        # Wholly inside the frame: the centre moves within what the scale leaves free.
        room_B1 = PLACE_SHARE * (1 - scale_B)[:, None]
        place_B2 = (2 * torch.rand(count, 2, generator=generator) - 1) * room_B1
        return self.paint(names_B, colours_B, scale_B, place_B2)

    def paint(self, names_B: Tensor, colours_B: Tensor, scale_B: Tensor, place_B2: Tensor) -> Batch:
        """Draw given pairs at given scale and place.

        Args:
            names_B: Indices into ``NAMES``.
            colours_B: Indices into ``COLOURS``.
            scale_B: Longest side of the emoji as a share of the picture's side.
            place_B2: Centre (x, y); the picture spans [-1, 1].
        """
        count = len(names_B)
        theta_B23 = torch.zeros(count, 2, 3)
        theta_B23[:, 0, 0] = theta_B23[:, 1, 1] = 1 / scale_B
        theta_B23[:, :, 2] = -place_B2 / scale_B[:, None]
        shape = (count, 4, self.size_px, self.size_px)
        grid_BHW2 = F.affine_grid(theta_B23, list(shape), align_corners=False)
        sprite_BCHW = F.grid_sample(self._sprites_NCHW[names_B], grid_BHW2, align_corners=False)
        background_BC11 = self._colours_NC[colours_B][:, :, None, None]
        rgb_BCHW = sprite_BCHW[:, :3] + (1 - sprite_BCHW[:, 3:]) * background_BC11
        return Batch(images_BCHW=rgb_BCHW * 2 - 1, names_B=names_B, colours_B=colours_B)
