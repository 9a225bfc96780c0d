"""What a model's code raises, as errors that can be told.

It is code of libraries, under configs that nobody can check in full, and of families from outside. Owns the only broad
``except`` around computing. Whatever such code raises is a failure of the job that it was run for, and the worker goes
on: the next one would fail in the same way. A failure of the device is none of these, since no process can go on with a
device that has failed it: it is raised as it is, and ends the worker.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polyrhythm.errors import InternalError, PolyrhythmError
from polyrhythm_agent.errors import ModelCodeError, OutOfMemoryError
from polyrhythm_agent.memory.device_memory import is_out_of_memory

_FAILED_DEVICE = ("CUDA error", "CUDA driver error", "cuDNN error")
"""In the words of the RuntimeError that PyTorch raises for a device, and for every call to it from then on."""


@contextmanager
def model_code(failure: Callable[[str], PolyrhythmError] = ModelCodeError) -> Iterator[None]:
    """Runs a model's code inside.

    Args:
        failure: makes the error, given what was raised and where, in one line.

    Raises:
        PolyrhythmError: of ``failure``, or what was raised inside if that is one already.
        OutOfMemoryError: memory ran out, whoever says so.
        RuntimeError: the device has failed.
    """
    try:
        yield
    except PolyrhythmError:
        raise
    except Exception as error:  # there is no list of what it may be
        if is_out_of_memory(error):
            raise OutOfMemoryError(next(iter(str(error).splitlines()), "")) from error
        if _is_of_device(error):
            raise
        failed = failure(_told(error))
        if isinstance(failed, InternalError):  # somebody will look for it in the code; a folder's fault is not there
            with suppress(OSError):  # nobody may read it
                traceback.print_exc()
        raise failed from error


def _is_of_device(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _FAILED_DEVICE)


def _told(error: Exception) -> str:
    """What an error says in one line, and where it was raised."""
    words = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words}{place}"
