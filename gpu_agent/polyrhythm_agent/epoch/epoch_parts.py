"""Which parts of the model are in memory when, during one epoch: what the work at hand needs, and what fits beside."""

from __future__ import annotations

from polyrhythm.model.facts import ModelPart
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import PartLoaded
from polyrhythm_agent.epoch.step_loop import StopRequest
from polyrhythm_agent.epoch.worker_context import WorkerContext


class EpochParts:
    """The parts of one member. ``expect`` from any thread, the rest from the one that computes.

    Args:
        command: that began the epoch.
        context: of the worker.
        stop: looked at after a part was loaded.
    """

    def __init__(self, command: StartEpoch, context: WorkerContext, stop: StopRequest) -> None:
        self._command = command
        self._context = context
        self._stop = stop
        self._need_bytes = command.memory_need_bytes
        self._room_bytes = -1

    @property
    def decodes(self) -> bool:
        """Whether this member decodes."""
        return self._command.decoder == self._context.agent

    def expect(self, need_bytes: int) -> None:
        """A newer plan needs so much."""
        self._need_bytes = max(self._need_bytes, need_bytes)

    def fetch(self, part: ModelPart) -> None:
        """Brings a part in for the work at hand; others make room for it."""
        parts = self._context.parts
        parts.make_room(self._need_bytes, keep=(part,))
        self._tell_loading(part, parts.fetch(part))

    def fetch_early(self) -> None:
        """A decoder that waits for the embeddings loads meanwhile what it will decode with, if that can stay."""
        parts, is_root = self._context.parts, self._command.root == self._context.agent
        if self.decodes and not is_root and parts.fits_beside(ModelPart.AUTOENCODER, self._need_bytes):
            self._tell_loading(ModelPart.AUTOENCODER, parts.fetch(ModelPart.AUTOENCODER))

    def make_room(self) -> None:
        """Lets the text encoder go if its room is needed; previews are decoded between steps, which must not wait."""
        if self._room_bytes >= self._need_bytes:
            return
        self._room_bytes = self._need_bytes
        if self.decodes and self._command.image.preview_every_steps:
            self.fetch(ModelPart.AUTOENCODER)
        else:
            self._context.parts.make_room(self._need_bytes)

    def _tell_loading(self, part: ModelPart, loading_s: float) -> None:
        if loading_s:
            self._context.tell(PartLoaded(epoch=self._command.epoch, part=part, loading_s=loading_s))
            self._stop.check_abort()  # which may have come while it loaded, for minutes
