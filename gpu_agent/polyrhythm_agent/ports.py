"""The seams of an agent: what the step loop asks of a denoiser, of the exchange and of a transport.

Denoiser, exchange, governor and checksums never import one another; they meet in the step loop, through these
Protocols. No behaviour here.

Shape letters: B batch (2 with guidance: negative, positive), C latent channels, H W latent height and width,
N tokens in row-major order, D width of the denoiser, K the pair (key, value), M the pair (mean, variance), G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from polyrhythm.exchanged_layers import LayerKind
from polyrhythm.facts import ModelFacts, ModelPart
from polyrhythm.image import ImageSpec, LongPrompt, Sampler
from polyrhythm.profile import Link
from polyrhythm.rows import RowRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangedLayer:
    """One layer of a denoiser that needs something of the rows of others.

    Attributes:
        kind: what it needs.
        shrink: latent rows to one row of cells (tokens, or pixels of the layer's feature map).
        columns: cells of one row.
        features: of one key or value; channels of a halo; groups of a normalisation.
        batch: batch elements that are sent.
        rows_above: halo: rows of cells that a patch needs of the patch above it.
        rows_below: halo: rows of cells that a patch needs of the patch below it.
        precise: whether it travels in the state's dtype rather than the activations'.
    """

    kind: LayerKind
    shrink: int
    columns: int
    features: int
    batch: int
    rows_above: int = 0
    rows_below: int = 0
    precise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of one picture inside a model.

    Attributes:
        row_count: row units of the picture.
        latent_rows_per_unit: latent rows of one row unit; a multiple of every layer's ``shrink``.
        latent_channels: C.
        latent_height: H of the whole latent.
        latent_width: W of the whole latent.
        batch: B of one forward.
        layers: exchanging layers, in the order in which a forward comes to them.
    """

    row_count: int
    latent_rows_per_unit: int
    latent_channels: int
    latent_height: int
    latent_width: int
    batch: int
    layers: tuple[ExchangedLayer, ...]

    def latent_slice(self, rows: RowRange) -> slice:
        """Latent rows of a range of row units; the last unit may be short."""
        begin, end = (min(row * self.latent_rows_per_unit, self.latent_height) for row in (rows.begin, rows.end))
        return slice(begin, end)

    def cell_slice(self, layer: ExchangedLayer, rows: RowRange) -> slice:
        """Rows of a layer's cells of a range of row units; the last cell of the picture may be short."""
        latent = self.latent_slice(rows)
        return slice(latent.start // layer.shrink, -(-latent.stop // layer.shrink))

    @property
    def resync_after_move(self) -> bool:
        """Whether the first step after rows have moved must be synchronous; see ``ModelFacts``."""
        return any(layer.kind is not LayerKind.TOKENS for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an agent published of its rows.

    Attributes:
        rows: row units of the sender.
        step: active step of the sender at which it was computed.
        tensor: the message.
    """

    rows: RowRange
    step: int
    tensor: Tensor


class ActivationExchange(Protocol):
    """One active step's view of the other agents' rows, handed to the denoiser.

    Every layer is called once, in ascending order, by the method of its kind. Tensors handed over must not be written
    to afterwards. All methods raise ``EpochAbortedError`` if the epoch ends while they wait.
    """

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        """Publishes the own rows' keys and values of a layer and returns those of all rows.

        Args:
            layer: index of the exchanging layer, 0 first.
            own_KBND: ``(2, batch, own tokens, features)``.

        Returns:
            ``(2, batch, all tokens, features)`` in image order: own rows of this step, other rows of the version that
            the plan names.
        """
        ...

    def halo(self, layer: int, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Publishes the rims of the own rows and returns those of the neighbours.

        Args:
            layer: index of the exchanging layer.
            own_BCHW: ``(batch, features, own rows of cells, columns)``.

        Returns:
            The ``rows_above`` rows above the own ones and the ``rows_below`` rows below; None where none are needed or
            the picture ends.
        """
        ...

    def collect(self, layer: int, own_MBG: Tensor) -> tuple[Part, ...]:
        """Publishes moments of the own rows and returns those that others have published.

        Args:
            layer: index of the exchanging layer.
            own_MBG: ``(2, batch, features)``: mean and (biased) variance of each group.

        Returns:
            In a synchronous step everybody else's of this step. In a displaced one everybody's as they were before,
            the own ones of the own active step before among them. Nothing where all rows are the own ones.
        """
        ...


class LayerSeam(Protocol):
    """Where checksums, fault injection, rollback and emulated speed reach into a forward."""

    def begin_layer(self, layer: str) -> None:
        """Called before a block runs."""
        ...

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        """Called with a block's output; returns what the forward goes on with."""
        ...


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
        seam: LayerSeam,
        *,
        x0_BCHW: Tensor | None = None,
    ) -> Tensor:
        """The model's guided prediction for some rows.

        Args:
            x_BCHW: ``(1, C, own latent rows, W)``, state dtype.
            step: index into the fine grid.
            rows: which row units ``x_BCHW`` holds.
            exchange: other agents' rows.
            seam: hooks around every block.
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


class Receipt(Protocol):
    """A posted receive."""

    def wait(self) -> Tensor:
        """Blocks until the message is there.

        Raises:
            TransportError: the peer is gone or the transport was aborted.
        """
        ...


class Transport(Protocol):
    """Ordered messages between the members of one gang: FIFO for each ordered pair, no tags, rendezvous.

    A send completes only when its receive is posted. Sends and receives of different pairs do not wait for one
    another.
    """

    @property
    def rank(self) -> int:
        """This member."""
        ...

    @property
    def size(self) -> int:
        """Members of the gang."""
        ...

    def post_receive(self, source: int, buffer: Tensor) -> Receipt:
        """Posts the next receive from a peer, into a contiguous buffer."""
        ...

    def send(self, destination: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once; the tensor must not change afterwards."""
        ...

    def all_gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Control group: every member's record of int64, in rank order. Blocks until all have contributed.

        Raises:
            TransportError: a peer is gone or the transport was aborted.
        """
        ...

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        """Measures latency and rate to every peer; all members call it together, once, right after forming."""
        ...

    def abort(self) -> None:
        """Ends every blocked wait at once with TransportError; from any thread, any number of times."""
        ...

    def drain(self) -> None:
        """Blocks until all sends have completed.

        Raises:
            TransportError: a peer is gone or the transport was aborted.
        """
        ...
