"""The model of fake workers: its facts, what it says of texts, and files that pass for its pictures."""

from __future__ import annotations

from polyrhythm.errors import FieldViolation
from polyrhythm.job.picture_file import END, head_bytes
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.session.commands import COUNTED_FIELDS, CountTokens
from polyrhythm.session.events import RequestFailed, TokensCounted
from tests.tiny_models.layer_groups import token_groups

FACTS = ModelFacts(
    name="fake",
    family="fake",
    fingerprint="f00d",
    dtype="float32",
    samplers=(Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M),
    default_width_px=64,
    default_height_px=64,
    default_steps=12,
    default_guidance=4.0,
    pixel_multiple=8,
    row_unit_px=8,
    pixels_max=1 << 20,
    token_limit=8,
    exchanged=token_groups(2, cell_bytes=32),
    token_px=8,
    latent_bytes_per_token=64,
    weights_bytes=1,
    long_prompts=(LongPrompt.CUT, LongPrompt.CHUNK),
)
SCHEDULE_STEPS = 900
"""Longest grid that the schedule of the fake model has."""
UNPAINTED = "unicorn"
"""A text with this word in it is none that the fake model takes."""
CUT_NOTICE = "cut off"
STRANGE, STRANGE_NOTICE = "grandmother", "nobody knows what that is"
"""A prompt with this word is taken, and told of."""


def png_of(
    width_px: int = FACTS.default_width_px, height_px: int = FACTS.default_height_px, *, padding_bytes: int = 0
) -> bytes:
    """A file that passes for a picture of this size with whoever does not decode it."""
    return head_bytes(width_px, height_px) + b" a fake picture" + bytes(padding_bytes) + END


PNG = png_of()


def answer_about_texts(command: CountTokens) -> TokensCounted | RequestFailed:
    """How many tokens texts have, or why they are not painted."""
    violations = tuple(
        FieldViolation(field=f"image.{field}", description="is not painted here")
        for field, text in zip(COUNTED_FIELDS, command.texts, strict=True)
        if UNPAINTED in text
    )
    if command.steps > SCHEDULE_STEPS:
        violations += (FieldViolation(field="image.steps", description=f"has {SCHEDULE_STEPS}, got {command.steps}"),)
    if violations:
        return RequestFailed(request_id=command.request_id, message="not painted here", violations=violations)
    return TokensCounted(request_id=command.request_id, counts=_counts(command), notices=_notices(command))


def _counts(command: CountTokens) -> tuple[int, ...]:
    counts, limit = tuple(map(_words, command.texts)), FACTS.token_limit
    match command.long_prompt:
        case LongPrompt.REFUSE:
            return counts
        case LongPrompt.CUT:
            return tuple(min(count, limit) for count in counts)
        case LongPrompt.CHUNK:
            return tuple(limit * -(-count // limit) for count in counts)


def _notices(command: CountTokens) -> tuple[str, ...]:
    cut = command.long_prompt is LongPrompt.CUT and any(_words(text) > FACTS.token_limit for text in command.texts)
    return (*((CUT_NOTICE,) if cut else ()), *((STRANGE_NOTICE,) if STRANGE in command.texts[0] else ()))


def _words(text: str) -> int:
    return len(text.split()) + 1
