"""Parts of a pipeline folder through diffusers and transformers, complete or not at all.

Owns the checks that the two only warn of and the translation of what the libraries raise. Parts are loaded one by
one because a pipeline loaded whole prints, guesses the scale of an absent autoencoder, and passes over weights that are
missing in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from polyrhythm.facts import ModelPart
from polyrhythm_agent.denoiser.folder import ModelFolder
from polyrhythm_agent.denoiser.offload import WeightsOutside
from polyrhythm_agent.denoiser.on_demand import OnDemand, outline_of
from polyrhythm_agent.device_memory import is_out_of_memory
from polyrhythm_agent.errors import ModelFolderError

LIBRARY_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,  # of transformers' configs
    TypeError,
    ValueError,
)
"""What diffusers and transformers raise for files and configs that do not fit."""


def load_part(kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """A module of diffusers from its subfolder, ready to run.

    Args:
        kind: class of the module.
        folder: of the pipeline.
        part: name of the subfolder.
        dtype: arithmetic.
        device: where to.

    Raises:
        ModelFolderError: files are missing, torn, incomplete or contradict their config.
    """
    with as_folder_error(folder, part):
        module, info = kind.from_pretrained(
            folder.path,
            subfolder=part,
            torch_dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    require_complete(folder, part, info)
    return module.to(device).eval()


def load_denoiser_part(
    kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device
) -> tuple[Any, WeightsOutside | None]:
    """The denoiser; arguments and errors as for ``load_part``.

    Returns:
        The module, and what takes its weights out once it is wrapped, where the folder asks for that: until then all of
        them are in the host's memory.
    """
    if not folder.offload:
        return load_part(kind, folder, part, dtype=dtype, device=device), None
    module = load_part(kind, folder, part, dtype=dtype, device=torch.device("cpu"))
    return module, WeightsOutside(module, folder.path / part, device)


def load_text_encoder(kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """A text encoder of transformers from its subfolder, ready to run; arguments and errors as for ``load_part``."""
    with as_folder_error(folder, part), _without_progress_bar():
        module, info = kind.from_pretrained(
            folder.path,
            subfolder=part,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    require_complete(folder, part, info)
    return module.to(device).eval()


def part_on_demand(
    kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device
) -> OnDemand[Any]:
    """A module of diffusers that is loaded when it is first used; arguments and errors as for ``load_part``."""
    outline = _outline(lambda: kind.from_config(dict(folder.config_of(part, "config.json"))), folder, part, dtype)
    return OnDemand(
        part=ModelPart.AUTOENCODER,
        outline=outline,
        read=lambda: load_part(kind, folder, part, dtype=dtype, device=device),
    )


def text_encoder_on_demand(
    kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device
) -> OnDemand[Any]:
    """A text encoder that is loaded when it is first used; arguments and errors as for ``load_part``."""
    outline = _outline(
        lambda: kind(kind.config_class.from_dict(dict(folder.config_of(part, "config.json")))), folder, part, dtype
    )
    return OnDemand(
        part=ModelPart.TEXT_ENCODER,
        outline=outline,
        read=lambda: load_text_encoder(kind, folder, part, dtype=dtype, device=device),
    )


def _outline(build: Callable[[], Any], folder: ModelFolder, part: str, dtype: torch.dtype) -> Any:
    """Config and sizes of a part, whose files are looked at without loading them.

    Older files name weights as the libraries did then, and are renamed in loading; so numbers are counted, and names
    are checked when it is loaded.

    Raises:
        ModelFolderError: the config is none, or the files are torn or hold too little for it.
    """
    with as_folder_error(folder, part):
        outline = outline_of(build, dtype)
        stored = stored_sizes(folder.path / part)
    needed = {name: weight.numel() for name, weight in outline.named_parameters()}
    if sum(stored.values()) < sum(needed.values()):
        wrong = sorted(name for name, count in needed.items() if stored.get(name) != count)
        problem = "missing_keys" if wrong[0] not in stored else "mismatched_keys"
        raise ModelFolderError(f"model: {folder.path / part} does not fit its config: {problem} such as {wrong[0]}")
    return outline


def stored_sizes(path: Path) -> dict[str, int]:
    """Numbers of each weight in a folder's files, from their headers."""
    sizes: dict[str, int] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            sizes |= {name: prod(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    return sizes


def require_complete(folder: ModelFolder, part: str, info: dict[str, Any]) -> None:
    """Checks that every weight was in the files: missing ones would stay random, and the libraries only warn.

    Raises:
        ModelFolderError: names the first weight that was not.
    """
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            first = min(map(str, info[problem]))
            raise ModelFolderError(f"model: {folder.path / part} does not fit its config: {problem} such as {first}")


@contextmanager
def as_folder_error(folder: ModelFolder, part: str) -> Iterator[None]:
    """Translates what the libraries raise for missing, torn or contradictory files; lack of memory stays what it is."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise ModelFolderError(f"model: {folder.path / part} cannot be loaded: {error}") from error


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Transformers draws a bar for every file; it would end up in a worker's log."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
