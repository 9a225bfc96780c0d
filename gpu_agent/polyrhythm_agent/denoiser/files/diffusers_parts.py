"""Parts of a pipeline folder through diffusers and transformers, complete or not at all.

Owns the checks that the two only warn of and the translation of what the libraries raise. Parts are loaded one by
one because a pipeline loaded whole prints, guesses the scale of an absent autoencoder, and passes over weights that are
missing in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import structlog
import torch
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from polyrhythm.model.facts import ModelPart
from polyrhythm_agent.denoiser.files.folder import CLASS_NAME, ModelFolder
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.denoiser.offload import WeightsOutside
from polyrhythm_agent.denoiser.on_demand import OnDemand, outline_of
from polyrhythm_agent.denoiser.operators.install import install_operators
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader, require_plain

log = structlog.get_logger()

WRAPPER = "text_model."


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
    with as_folder_error(folder, part), folder.readable(part) as readable:
        module, info = kind.from_pretrained(
            readable,
            subfolder=part,
            variant=folder.weights_of(part).variant,
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
    """The denoiser, computed by the folder's operators; arguments and errors as for ``load_part``.

    Returns:
        The module, and what takes its weights out once it is wrapped, where the folder asks for that: until then all of
        them are in the host's memory.
    """
    require_class(folder, part, kind)
    stored_sizes(folder, part)
    place = torch.device("cpu") if folder.offload else device
    module = load_part(kind, folder, part, dtype=dtype, device=place)
    install_operators(module, folder.operators)
    return module, WeightsOutside(module, folder.weights_of(part).files, device) if folder.offload else None


def load_text_encoder(kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """A text encoder of transformers from its subfolder, ready to run; arguments and errors as for ``load_part``."""
    with as_folder_error(folder, part), folder.readable(part) as readable, _without_progress_bar():
        module, info = kind.from_pretrained(
            readable,
            subfolder=part,
            variant=folder.weights_of(part).variant,
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
    require_class(folder, part, kind)

    def read(where: torch.device = device) -> Any:
        return load_part(kind, folder, part, dtype=dtype, device=where)

    def build() -> Any:
        return kind.from_config(dict(folder.config_of(part, "config.json")))

    return OnDemand(part=ModelPart.AUTOENCODER, outline=_outline(build, read, folder, part, dtype), read=read)


def text_encoder_on_demand(
    kind: Any, folder: ModelFolder, part: str, *, dtype: torch.dtype, device: torch.device
) -> OnDemand[Any]:
    """A text encoder that is loaded when it is first used; arguments and errors as for ``load_part``."""
    require_class(folder, part, kind)

    def read(where: torch.device = device) -> Any:
        return load_text_encoder(kind, folder, part, dtype=dtype, device=where)

    def build() -> Any:
        return kind(kind.config_class.from_dict(dict(folder.config_of(part, "config.json"))))

    return OnDemand(part=ModelPart.TEXT_ENCODER, outline=_outline(build, read, folder, part, dtype), read=read)


def require_class(folder: ModelFolder, part: str, kind: Any) -> None:
    """Checks that a part is of the class that it is loaded as, and of that class's library.

    Raises:
        ModelFolderError: its config names another class, or the index another library, whose files were hashed.
    """
    library, indexed = kind.__module__.partition(".")[0], folder.library_of(part)
    if indexed not in (None, library):
        raise ModelFolderError(f"model: {folder.path} says that {part} is of {indexed}; it is loaded by {library}")
    named = folder.config_of(part, "config.json").get(CLASS_NAME, kind.__name__)
    if named != kind.__name__:
        raise ModelFolderError(f"model: {folder.path / part} is a {named}; only {kind.__name__} is run here")


def _outline(
    build: Callable[[], Any], read: Callable[[torch.device], Any], folder: ModelFolder, part: str, dtype: torch.dtype
) -> Any:
    """Config and sizes of a part, whose files are looked at without loading them where their names suffice.

    Older files name weights as the libraries did then, and are renamed in loading. Whether those fit is seen by loading
    them once, into the host's memory, and now: later an agent would already have said that it is ready.

    Raises:
        ModelFolderError: the config is none, or the files are torn or do not fit it.
    """
    with as_folder_error(folder, part):
        outline = outline_of(build, dtype)
        stored = stored_sizes(folder, part)
    needed = {name: weight.numel() for name, weight in outline.named_parameters()}
    wrong = sorted(name for name, count in needed.items() if _stored(name, stored) != count)
    if not wrong:
        return outline
    if sum(stored.values()) < sum(needed.values()):
        problem = "missing_keys" if wrong[0] not in stored else "mismatched_keys"
        raise ModelFolderError(f"model: {folder.path / part} does not fit its config: {problem} such as {wrong[0]}")
    log.info("names of weights are of another version; loading them once", part=part)
    with torch.inference_mode(mode=False):
        read(torch.device("cpu"))
    return outline


def _stored(name: str, sizes: Mapping[str, int]) -> int | None:
    """Numbers of a weight; text encoders of CLIP were saved with a wrapper around them by older versions."""
    return sizes.get(name, sizes.get(f"{WRAPPER}{name}", sizes.get(name.removeprefix(WRAPPER))))


def stored_sizes(folder: ModelFolder, part: str) -> dict[str, int]:
    """Numbers of each weight in a part's files, from their headers.

    Raises:
        ModelFolderError: a file is torn, or weights are of a type that is scaled by rules that no file states.
    """
    sizes: dict[str, int] = {}
    for file in folder.weights_of(part).files:
        try:
            require_plain(CheckpointHeader.read(file).types(), file.name)
        except ModelFolderError as error:
            raise ModelFolderError(f"model: {folder.path / part} cannot be loaded: {error}") from error
        with as_folder_error(folder, part), safe_open(file, framework="pt") as weights:
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
    """Translates what the libraries raise for missing, torn or contradictory files.

    Raises:
        ModelFolderError: they raised something.
        OutOfMemoryError: that there is no memory for the part.
    """
    with model_code(lambda told: ModelFolderError(f"model: {folder.path / part} cannot be loaded: {told}")):
        yield


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
