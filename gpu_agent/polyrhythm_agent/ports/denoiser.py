"""What the step loop asks of a model.

Shape letters: B batch (2 with guidance: negative, positive), C latent channels, H W latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelFacts, ModelPart
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry


class PartOnDemand(Protocol):
    """A piece of a model that is in memory only while somebody wants it. ``held`` from any thread, the rest on one."""

    @property
    def part(self) -> ModelPart:
        """What it belongs to."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of its weights, in memory or not."""
        ...

    @property
    def held(self) -> bool:
        """Whether it is in memory."""
        ...

    def load(self) -> None:
        """Brings it into memory, if it is not there.

        Raises:
            ModelFolderError: its files do not fit its config, or have gone.
        """
        ...

    def release(self) -> None:
        """Lets it go; it can be loaded again."""
        ...


class Denoiser(Protocol):
    """One loaded model, run patch by patch. All tensors live on its own device, all methods on one thread."""

    @property
    def parts(self) -> Sequence[PartOnDemand]:
        """What ``encode`` and ``decode`` load when they are first called; empty where all is loaded from the start."""
        ...

    @property
    def facts(self) -> ModelFacts:
        """What the coordinator is told."""
        ...

    @property
    def compute_dtype(self) -> torch.dtype:
        """Arithmetic of the forward; keys and values are exchanged in it."""
        ...

    @property
    def state_dtype(self) -> torch.dtype:
        """Of x and x0: fp32, or fp64 where the forward is fp64."""
        ...

    def geometry(self, image: ImageSpec) -> Geometry:
        """Sizes of a picture."""
        ...

    @property
    def sample_prompt(self) -> str:
        """Some prompt that the model takes; what it shows does not matter."""
        ...

    def count_tokens(self, text: str, field: str = "prompt") -> int:
        """Tokens of a text, end mark included, without truncation.

        Args:
            text: as the user wrote it.
            field: of the request: ``prompt`` or ``negative_prompt``.

        Raises:
            InvalidArgumentError: names the field: the model takes no such text, however short.
        """
        ...

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Asked before a request is queued, as ``count_tokens`` is.

        Raises:
            InvalidArgumentError: names ``steps``: the model's schedule has not so many for that sampler.
        """
        ...

    def encode(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Text embeddings of the prompt (and the negative prompt where guidance is on), by name."""
        ...

    def empty_condition(self, image: ImageSpec) -> Mapping[str, Tensor]:
        """Uninitialised tensors with the names, shapes and dtypes of ``encode``, to receive them into."""
        ...

    def start(self, image: ImageSpec, condition: Mapping[str, Tensor]) -> DenoiserRun:
        """Prepares a picture: projects the condition and caches the text's keys and values."""
        ...

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Decodes ``(1, C, H, W)`` to ``(3, height, width)`` uint8 on the CPU."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText:
    """What becomes of a text that may be longer than a model's limit.

    Attributes:
        tokens: that the image attends to, marks included: what is left of a text that is cut, or all windows.
        cut_off: what is cut off.
    """

    tokens: int
    cut_off: str = ""


@runtime_checkable
class ReadsLongTexts(Protocol):
    """A ``Denoiser`` whose facts offer ``long_prompts``; its ``encode`` then heeds those of a picture."""

    def long_text(self, text: str, treatment: LongPrompt) -> LongText:
        """Asked after ``count_tokens``, which refuses what is no text of this model.

        Args:
            text: as the user wrote it.
            treatment: one of those offered.
        """
        ...


class DenoiserRun(Protocol):
    """One picture of a denoiser."""

    @property
    def geometry(self) -> Geometry:
        """Sizes of the picture."""
        ...

    def initial_noise(self) -> Tensor:
        """``(1, C, H, W)`` in the state dtype, from a seeded CPU generator: the same on every device."""
        ...

    def predict(
        self,
        x_BCHW: Tensor,
        step: int,
        rows: RowRange,
        exchange: ActivationExchange,
        observer: BlockObserver,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The model's guided prediction for some rows.

        Args:
            x_BCHW: ``(1, C, own latent rows, W)``, state dtype.
            step: index into the fine grid.
            rows: which row units ``x_BCHW`` holds.
            exchange: other agents' rows.
            observer: told when each block begins and ends.
            x0_BCHW: the clean patch predicted last, of the same shape. Models that look across the rim of a patch send
                it along, so that a neighbour can bring the rim to its own noise level; others do not read it.

        Returns:
            Prediction of the same shape, state dtype, both guidance halves combined.
        """
        ...

    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
        *,
        rows: RowRange,
    ) -> tuple[Tensor, Tensor]:
        """One sampler update of a patch between any two points of the fine grid.

        Args:
            x_BCHW: the patch at ``step``.
            prediction_BCHW: what ``predict`` returned.
            step: from.
            next_step: to; at most the number of steps, which is the clean picture.
            history_x0_BCHW: last predicted clean patch; not read where a row has no history.
            history_steps: a row unit of the patch each, the step of that prediction, or -1 for none.
            rows: which row units the patch holds; samplers that draw noise draw it for the whole picture.

        Returns:
            ``x`` at ``next_step`` and the clean patch predicted at ``step``.
        """
        ...
