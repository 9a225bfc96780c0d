"""One epoch on one worker, from the command to its end: form the gang, share condition and state, denoise, decode.

Created by the channel's thread (so that an abort that arrives before the start is not lost), run by the compute thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import structlog
import torch
from torch import Tensor

from polyrhythm.errors import PolyrhythmError
from polyrhythm.model.facts import ModelPart
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import EpochEnded, EpochJoined, EpochOutcome, PreviewMade
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.epoch.boundary_state import NO_HISTORY, BoundaryState
from polyrhythm_agent.epoch.epoch_parts import EpochParts
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.epoch.png import PREVIEW_SIDE_PX, encode_png, image_parts
from polyrhythm_agent.epoch.step_loop import Exchange, LoopIdentity, StepLoop, StopRequest
from polyrhythm_agent.epoch.worker_context import WorkerContext
from polyrhythm_agent.errors import (
    EpochAbortedError,
    EpochCancelledError,
    NoPictureError,
    OutOfMemoryError,
    forget_frames,
)
from polyrhythm_agent.memory.device_memory import is_out_of_memory
from polyrhythm_agent.ports.blocks import DECODE, ENCODE
from polyrhythm_agent.ports.denoiser import DenoiserRun
from polyrhythm_agent.ports.transport import Transport

log = structlog.get_logger()


class EpochRun:
    """One epoch. ``run`` on the compute thread; ``extend``, ``cancel`` and ``abort`` from any thread."""

    def __init__(self, command: StartEpoch, context: WorkerContext) -> None:
        self.epoch = command.epoch
        self._command = command
        self._context = context
        self._book = PlanBook(version=command.plan_version, segments=command.segments, complete=command.complete)
        self._stop = StopRequest()
        self._stopping = threading.Lock()
        self._transport: Transport | None = None
        self._exchange: Exchange | None = None
        self._transport_aborted = False
        self._last_preview_step = command.begin_step
        self._parts = EpochParts(command, context, self._stop)
        self._refusal: OutOfMemoryError | None = None

    def extend(self, command: ExtendPlan) -> None:
        """Takes further segments; leaves the epoch if they are predicted to need more memory than there is."""
        try:
            self._context.device_memory.check(command.memory_need_bytes)
        except OutOfMemoryError as error:
            self._refusal = error
            self.abort(str(error))
            return
        self._parts.expect(command.memory_need_bytes)
        self._book.extend(version=command.plan_version, segments=command.segments, complete=command.complete)

    def cancel(self) -> None:
        """Stops all members at the next boundary."""
        self._stop.cancelled = True

    def abort(self, reason: str) -> None:
        """Stops at once: every wait of this epoch ends."""
        with self._stopping:
            self._stop.abort_reason = reason
            self._book.abort(reason)
            self._context.abort_rendezvous(reason)
            if self._exchange is not None:
                self._exchange.abort(reason)
            elif self._transport is not None:
                self._transport.abort()

    def run(self) -> None:
        """Runs to the end and tells how it ended.

        Raises:
            RuntimeError: the device has failed, which is no matter of this epoch alone: the daemon sees the worker end.
        """
        outcome, message, out_of_memory, no_picture = EpochOutcome.FINISHED, "", False, False
        try:
            with model_code():
                final = self._denoise()
                if self._parts.decodes:
                    self._decode(final)
        except EpochCancelledError as error:
            outcome, message = EpochOutcome.CANCELLED, str(error)
            forget_frames(error)
        except PolyrhythmError as error:
            out_of_memory = is_out_of_memory(error) or self._refusal is not None
            no_picture = isinstance(error, NoPictureError)
            aborted = isinstance(error, EpochAbortedError) or self._stop.abort_reason is not None
            outcome = EpochOutcome.ABORTED if aborted and self._refusal is None else EpochOutcome.FAILED
            message = self._stop.abort_reason or f"{type(error).__name__}: {error}"
            forget_frames(error)
        intact = outcome in {EpochOutcome.FINISHED, EpochOutcome.CANCELLED} and not self._transport_aborted
        if not intact:
            self._context.gangs.drop(self._command.gang)
        if out_of_memory:
            self._context.device_memory.give_back()
        # Before the end is told, since the next job may be planned as soon as it is.
        self._context.tell(self._context.device_memory.read())
        self._context.tell(
            EpochEnded(
                epoch=self.epoch,
                outcome=outcome,
                held_boundaries=self._context.memory.held_boundaries(self._command.job),
                message=message,
                gang_intact=intact,
                out_of_memory=out_of_memory,
                no_picture=no_picture,
            )
        )

    def _denoise(self) -> BoundaryState:
        try:
            return self._denoise_on_gang()
        finally:
            with self._stopping:  # an abort that comes later leaves the gang as it is
                self._transport_aborted = self._stop.abort_reason is not None
                self._exchange = self._transport = None

    def _hold(self, transport: Transport) -> None:
        with self._stopping:
            self._transport = transport
        self._stop.check_abort()

    def _denoise_on_gang(self) -> BoundaryState:
        self._stop.check_abort()
        context, command = self._context, self._command
        context.device_memory.check(command.memory_need_bytes)
        context.open_rendezvous()
        self._stop.check_abort()  # an abort between the two lines above would have been undone by the first
        gang, links = context.gangs.enter(command.gang, command.members, self._hold)
        geometry = context.denoiser.geometry(command.image)
        with context.open_exchange(gang, geometry, command.exchange_dtype) as exchange:
            with self._stopping:
                self._exchange = exchange
            self._stop.check_abort()
            self._parts.fetch_early()
            condition, encode_s = self._share_condition(exchange)
            self._parts.make_room()
            run = context.denoiser.start(command.image, condition)
            state = self._share_state(exchange, run)
            context.tell(EpochJoined(epoch=self.epoch, encode_s=encode_s, links=links))
            loop = StepLoop(
                identity=LoopIdentity(agent=context.agent, epoch=self.epoch),
                run=run,
                exchange=exchange,
                book=self._book,
                plan_version=command.plan_version,
                state=state,
                observer=context.observer,
                around_exchange=context.around_exchange,
                busy_clock=context.busy_clock,
                stop=self._stop,
                tell=context.tell,
                keep=self._keep,
            )
            return loop.denoise()

    @property
    def _is_root(self) -> bool:
        return self._command.root == self._context.agent

    @torch.inference_mode()
    def _share_condition(self, exchange: Exchange) -> tuple[Mapping[str, Tensor], float]:
        """The root's embeddings on every member; encoded once a job, even over several epochs."""
        context, command = self._context, self._command
        encode_s = 0.0
        if self._is_root:
            condition = context.memory.condition(command.job)
            if condition is None:
                self._parts.fetch(ModelPart.TEXT_ENCODER)
                begin_s = time.perf_counter()
                context.observer.begin_block(ENCODE)
                condition = context.denoiser.encode(command.image)
                context.observer.end_block(ENCODE)
                encode_s = time.perf_counter() - begin_s
        else:
            condition = context.denoiser.empty_condition(command.image)
        exchange.broadcast(command.members.index(command.root), condition)
        context.memory.remember_condition(command.job, condition)
        return condition, encode_s

    @torch.inference_mode()
    def _share_state(self, exchange: Exchange, run: DenoiserRun) -> BoundaryState:
        """The state to begin with: seeded noise, or the root's boundary."""
        context, command = self._context, self._command
        noise_BCHW = run.initial_noise()
        row_count = run.geometry.row_count
        state = BoundaryState(
            step=command.begin_step,
            x_BCHW=noise_BCHW,
            x0_BCHW=torch.zeros_like(noise_BCHW),
            history_steps=(NO_HISTORY,) * row_count,
        )
        if command.begin_step == 0:
            return state
        if self._is_root:
            state = context.memory.state(command.job, command.begin_step)
        history_R = torch.tensor(state.history_steps, dtype=torch.int64, device=noise_BCHW.device)
        tensors = {"x": state.x_BCHW, "x0": state.x0_BCHW, "history": history_R}
        exchange.broadcast(command.members.index(command.root), tensors)
        state = BoundaryState(
            step=command.begin_step,
            x_BCHW=tensors["x"],
            x0_BCHW=tensors["x0"],
            history_steps=tuple(int(step) for step in history_R.tolist()),
        )
        context.memory.remember_state(command.job, state)
        return state

    def _keep(self, state: BoundaryState) -> None:
        context, command = self._context, self._command
        context.memory.remember_state(command.job, state)
        self._parts.make_room()  # a newer plan may need more than was made room for
        every = command.image.preview_every_steps
        if (
            every
            and self._parts.decodes
            and state.step < command.image.steps
            and state.step - self._last_preview_step >= every
        ):
            self._last_preview_step = state.step
            self._preview(state)

    def _preview(self, state: BoundaryState) -> None:
        context = self._context
        try:
            pixels_CHW = context.denoiser.decode(state.x0_BCHW)
        except NoPictureError as error:  # early guesses may be none: only of a picture is that a fault
            log.info("no preview", epoch=str(self.epoch), step=state.step, reason=str(error))
            return
        png = encode_png(pixels_CHW, side_max_px=PREVIEW_SIDE_PX)
        context.tell(PreviewMade(epoch=self.epoch, step=state.step, png=png))

    @torch.inference_mode()
    def _decode(self, final: BoundaryState) -> None:
        self._stop.check_abort()
        context = self._context
        self._parts.fetch(ModelPart.AUTOENCODER)
        begin_s = time.perf_counter()
        context.observer.begin_block(DECODE)
        pixels_CHW = context.denoiser.decode(final.x_BCHW)
        context.observer.end_block(DECODE)
        png = encode_png(pixels_CHW)
        for part in image_parts(self.epoch, png, time.perf_counter() - begin_s):
            context.tell(part)
