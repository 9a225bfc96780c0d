"""Whatever a model's code raises is a failure of the job that it was run for, in one line; the worker goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyrhythm.ids import EpochId
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm.session.commands import CountTokens, MeasureProfile
from polyrhythm.session.events import EpochEnded, EpochOutcome, RequestFailed, TokensCounted
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.measuring.stop import MeasuringStop
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.pipelines import with_config
from tests.worlds.epoch_bench import Bench, picture, start

ODD_ERRORS = (
    TypeError("unsupported operand type(s) for /: 'Tensor' and 'NoneType'"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied\n(1x2 and 3x4)"),
    KeyError("text"),
    AssertionError(),
    UnboundLocalError("cannot access local variable"),
    OSError(5, "Input/output error"),
)
DEVICE_FAILED = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["pixart"], model="tiny")


class OddDenoiser:
    """A denoiser one method of which, of its own or of its run, fails when it is first called."""

    def __init__(self, denoiser: Denoiser, method: str, error: Exception) -> None:
        self._denoiser = denoiser
        self._method = method
        self._errors = [error]

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._denoiser, name)
        if name == self._method:
            return self._failing(whole)
        return self._start if name == "start" else whole

    def _start(self, *arguments: Any) -> Any:
        run: Any = self._denoiser.start(*arguments)
        if callable(whole := getattr(run, self._method, None)):
            setattr(run, self._method, self._failing(whole))
        return run

    def _failing(self, whole: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*arguments: Any, **named: Any) -> Any:
            if self._errors:
                raise self._errors.pop()
            return whole(*arguments, **named)

        return fail


def odd(denoiser: Denoiser, method: str, error: Exception) -> Bench:
    failing: Any = OddDenoiser(denoiser, method, error)
    return Bench(failing)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        *[(method, ODD_ERRORS[0]) for method in ("geometry", "encode", "start", "initial_noise", "decode")],
        *[("predict", error) for error in ODD_ERRORS],
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_it_fails_the_epoch_and_the_next_one_is_painted(denoiser: Denoiser, method: str, error: Exception) -> None:
    bench = odd(denoiser, method, error)
    bench.loop.accept(start())
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory, end.no_picture) == (EpochOutcome.FAILED, False, False)
    assert end.message.startswith(f"ModelCodeError: {type(error).__name__}: {' '.join(str(error).split())}")
    assert end.message.endswith(")")  # where it was
    assert "\n" not in end.message
    bench.loop.accept(replace(start(), epoch=EpochId(incarnation=1, counter=2)))
    bench.loop.compute_next()
    assert bench.of(EpochEnded)[1].outcome is EpochOutcome.FINISHED
    assert picture(bench)


def test_a_lack_of_memory_that_is_no_runtime_error_is_one(denoiser: Denoiser) -> None:
    bench = odd(denoiser, "predict", MemoryError("Unable to allocate 4. GiB for an array"))
    bench.loop.accept(start())
    bench.loop.compute_next()
    (end,) = bench.of(EpochEnded)
    assert (end.outcome, end.out_of_memory) == (EpochOutcome.FAILED, True)
    assert end.message == "OutOfMemoryError: Unable to allocate 4. GiB for an array"


def test_a_device_that_has_failed_ends_the_worker(denoiser: Denoiser) -> None:
    bench = odd(denoiser, "predict", DEVICE_FAILED)
    bench.loop.accept(start())
    with pytest.raises(RuntimeError, match="device-side assert"):
        bench.loop.compute_next()


def measuring(denoiser: Denoiser, error: Exception) -> Bench:
    def measure(command: MeasureProfile, stop: MeasuringStop) -> Profile:
        raise error

    bench = Bench(denoiser, measure=measure)
    workload = Workload(model="tiny", width_px=64, height_px=64, batch=2)
    bench.loop.accept(MeasureProfile(request_id=7, workload=workload))
    return bench


@pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
def test_it_fails_the_measurement(denoiser: Denoiser, error: Exception) -> None:
    bench = measuring(denoiser, error)
    bench.loop.compute_next()
    (answer,) = bench.of(RequestFailed)
    assert answer.request_id == 7
    assert answer.message.startswith(f"ModelCodeError: {type(error).__name__}: {' '.join(str(error).split())}")
    assert bench.loop.read_memory() is not None  # it is done, and not busy


def test_a_device_that_has_failed_while_it_measured_ends_the_worker(denoiser: Denoiser) -> None:
    with pytest.raises(RuntimeError, match="device-side assert"):
        measuring(denoiser, DEVICE_FAILED).loop.compute_next()


def test_it_leaves_a_count_of_tokens_unanswered(denoiser: Denoiser) -> None:
    bench = odd(denoiser, "count_tokens", ODD_ERRORS[0])
    for number in (1, 2):
        bench.loop.accept(
            CountTokens(
                request_id=number,
                model="tiny",
                texts=("a", ""),
                sampler=Sampler.DDIM,
                steps=4,
                long_prompt=LongPrompt.REFUSE,
            )
        )
    failed, counted = bench.events
    assert isinstance(failed, RequestFailed)
    assert (failed.request_id, failed.violations) == (1, ())
    assert failed.message.startswith("ModelCodeError: TypeError: unsupported operand type(s)")
    assert isinstance(counted, TokensCounted)


def test_code_that_fails_on_a_config_refuses_the_folder(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = with_config(folders["pixart"], tmp_path, "transformer", activation_fn="nonsense")
    with pytest.raises(ModelFolderError, match=r"model: .*transformer cannot be loaded: UnboundLocalError: .*act_fn"):
        load_denoiser(folder, model="tiny")
