"""A gang in one process: the real step loop and exchange of every member, a thread each, over the in-process network.

Deterministic: which version of a peer's activations a step reads follows from the plan, whoever is first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import torch
from torch import Tensor

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.plan import Plan
from polyrhythm.session.events import AgentEvent
from polyrhythm_agent.denoiser.layers.solo import NoObserver
from polyrhythm_agent.epoch.boundary_state import NO_HISTORY, BoundaryState
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.epoch.step_loop import LoopIdentity, StepLoop, StopRequest
from polyrhythm_agent.errors import EpochAbortedError, TransportError
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.measuring.busy_clock import CpuBusyClock
from polyrhythm_agent.measuring.emulated_speed import EmulatedSpeed
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.transport import Transport

_EPOCH = EpochId(incarnation=1, counter=1)


class InProcessGang:
    """Denoises pictures by plans of up to as many members as there are denoisers.

    Args:
        denoisers: one a member, of the same model. They cannot share one: the layers of some families keep what
            belongs to a member's rows.
    """

    def __init__(self, denoisers: Sequence[Denoiser]) -> None:
        self._denoisers = tuple(denoisers)

    @property
    def size(self) -> int:
        """Members of a plan, at most."""
        return len(self._denoisers)

    @property
    def denoiser(self) -> Denoiser:
        """The first member's, for what does not depend on the member."""
        return self._denoisers[0]

    def denoise(
        self, plan: Plan, image: ImageSpec, condition: Mapping[str, Tensor], start: BoundaryState | None = None
    ) -> dict[int, BoundaryState]:
        """Runs a plan to its end.

        Args:
            plan: of so many members as there are denoisers, at most.
            image: what to make.
            condition: its embeddings.
            start: the state at the plan's first step; None for the picture's noise at step 0.

        Returns:
            Every boundary, by its step; the last one holds the clean latent.

        Raises:
            PolyrhythmError: a member failed.
        """
        network = InProcessNetwork(len(plan.agents))
        transports = [network.transport(rank) for rank in range(len(plan.agents))]

        def run(rank: int) -> dict[int, BoundaryState]:
            with ExitStack() as if_it_fails:
                if_it_fails.callback(transports[rank].abort)  # or the others would wait for this one for ever
                states = _member(plan, rank, self._denoisers[rank], image, condition, start, transports[rank])
                if_it_fails.pop_all()
            return states

        if len(plan.agents) == 1:
            return run(0)
        with ThreadPoolExecutor(len(plan.agents), thread_name_prefix="member") as pool:
            running = [pool.submit(run, rank) for rank in range(len(plan.agents))]
        failures = [error for future in running if (error := future.exception()) is not None]
        if failures:  # a member that fails takes the others with it: its own error says more than theirs
            raise next((e for e in failures if not isinstance(e, TransportError | EpochAbortedError)), failures[0])
        return running[0].result()


@torch.inference_mode()
def _member(
    plan: Plan,
    rank: int,
    denoiser: Denoiser,
    image: ImageSpec,
    condition: Mapping[str, Tensor],
    start: BoundaryState | None,
    transport: Transport,
) -> dict[int, BoundaryState]:
    run = denoiser.start(image, condition)
    noise_BCHW = run.initial_noise()
    agent: AgentId = plan.agents[rank]
    states: dict[int, BoundaryState] = {}
    exchange = GangExchange(
        transport=transport,
        members=plan.agents,
        geometry=run.geometry,
        device=noise_BCHW.device,
        activation_dtype=denoiser.compute_dtype,
        state_dtype=denoiser.state_dtype,
    )
    with exchange:
        StepLoop(
            identity=LoopIdentity(agent=agent, epoch=_EPOCH),
            run=run,
            exchange=exchange,
            book=PlanBook(version=plan.version, segments=plan.segments, complete=True),
            plan_version=plan.version,
            state=start or _noise_state(noise_BCHW, run.geometry.row_count),
            observer=NoObserver(),
            around_exchange=lambda inner: inner,
            busy_clock=CpuBusyClock(speed=EmulatedSpeed(speed=1.0)),
            stop=StopRequest(),
            tell=_tell_nobody,
            keep=lambda state: states.__setitem__(state.step, state),
        ).denoise()
    return states


def _noise_state(noise_BCHW: Tensor, row_count: int) -> BoundaryState:
    return BoundaryState(
        step=0,
        x_BCHW=noise_BCHW,
        x0_BCHW=torch.zeros_like(noise_BCHW),
        history_steps=(NO_HISTORY,) * row_count,
    )


def _tell_nobody(event: AgentEvent) -> None:
    """Nobody follows a probe step by step."""
    del event
