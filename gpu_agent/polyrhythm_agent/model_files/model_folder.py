"""Where a model lies, and whether it can be one, seen without loading it and without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.hub_id import WEIGHTS_SUFFIX, HubId, read_hub_id
from polyrhythm.model.shipped_models import SHIPPED_MODELS
from polyrhythm.process.environment import CACHE_VARIABLE
from polyrhythm_agent.errors import ModelFolderError, ModelUnavailableError
from polyrhythm_agent.model_files.checkpoint_file import TEXT_PREFIXES, CheckpointHeader, places_of_configs
from polyrhythm_agent.model_files.checkpoint_spec import said_by
from polyrhythm_agent.model_files.families import known_families
from polyrhythm_agent.model_files.folder_text import read_text
from polyrhythm_agent.model_files.hub import (
    CLIP_REPOSITORY,
    FetchSnapshot,
    FetchVocabulary,
    fetch_clip_vocabulary,
    fetch_snapshot,
)
from polyrhythm_agent.model_files.known_configs import VOCABULARY_FILES, architecture_of, write_configs

_PACKAGE = Path(__file__).parents[1]
SHIPPED_PLACES = (_PACKAGE / "models", _PACKAGE.parents[1] / "models")
"""Where models that ship lie: inside an installed wheel; in a checkout."""

OPTION, CONFIG_OPTION = "--model", "--model-config"
_INDEX = "model_index.json"
_PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A folder, or a checkpoint with a folder of configs, that looks like a model.

    Attributes:
        name: under which requests ask for it.
        path: absolute; a folder in diffusers format, or a checkpoint file.
        configs: folder of a checkpoint's configs and tokenizers; None where ``path`` is a folder.
    """

    name: str
    path: Path
    configs: Path | None = None


def find_model(
    model: str,
    places: tuple[Path, ...] = SHIPPED_PLACES,
    *,
    configs: str | None = None,
    fetch: FetchSnapshot = fetch_snapshot,
    fetch_vocabulary: FetchVocabulary = fetch_clip_vocabulary,
    cache: Path | None = None,
) -> FoundModel:
    """The model that an option names, checked cheaply; one of the hub is fetched first.

    An existing path goes before a model of the hub.

    Args:
        model: name of one that ships, a path, or ``org/name`` with or without ``@revision``.
        places: where those that ship may lie, first match wins.
        configs: folder of a checkpoint's configs and tokenizers; None to look beside the checkpoint, and else to take
            those that are known.
        fetch: brings models of the hub.
        fetch_vocabulary: brings what the known ones lack.
        cache: where these are put together; None for ``cache_folder``.

    Raises:
        InvalidArgumentError: there is no such model, or it is no diffusers model of a known pipeline with safetensors,
            and no checkpoint of one with configs.
    """
    if model in SHIPPED_MODELS:
        found = _shipped(model, places)
    elif (path := _path(model)).exists():
        found = _at_path(path, configs, KnownConfigs(fetch=fetch_vocabulary, cache=cache or cache_folder(os.environ)))
    elif (hub_id := read_hub_id(model)) is None:
        raise _error(f"{path.absolute()} does not exist; models that are known by name here: {_names(places)}")
    else:
        found = FoundModel(name=model, path=_fetched(hub_id, fetch))
    if found.configs is None:
        if configs is not None:
            raise InvalidArgumentError.of(CONFIG_OPTION, f"goes with a checkpoint file only, and {model} is none")
        _check_folder(found.path)
    return found


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where converted checkpoints are kept: ``POLYRHYTHM_CACHE``, or ``polyrhythm`` in the user's cache."""
    if named := environment.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    users = environment.get("XDG_CACHE_HOME", "")
    return (Path(users) if users.startswith("/") else Path.home() / ".cache") / "polyrhythm"


def _shipped(name: str, places: tuple[Path, ...]) -> FoundModel:
    path = next((place / name for place in places if (place / name).is_dir()), None)
    if path is None:
        raise _error(
            f"{name} is not part of this installation; models that are known by name here: {_names(places)}; "
            "any other is given as its folder"
        )
    return FoundModel(name=name, path=path)


def _names(places: tuple[Path, ...]) -> str:
    """Those that ship and are here, for a sentence."""
    return ", ".join(name for name in SHIPPED_MODELS if any((place / name).is_dir() for place in places)) or "none"


def _path(text: str) -> Path:
    """A path as it is written, which can be looked at."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # may not be looked into; no such user; a NUL in it
        raise _error(f"{text} is no path that can be read: {error}") from error
    return path


def _at_path(path: Path, configs: str | None, known: KnownConfigs) -> FoundModel:
    if not path.is_file():
        # Requests, files and replays know it by the name that it was given, whatever a link leads to now.
        name = path.absolute().name
        path = path.resolve()
        return FoundModel(name=path.name if name in {"", ".."} else name, path=path)
    path = path.absolute()  # a link may lead to a file of another name, with other folders beside it
    if path.suffix in _PICKLES:
        raise _error(f"{path} is a pickle, which can run code; only {WEIGHTS_SUFFIX} checkpoints are loaded")
    if path.suffix != WEIGHTS_SUFFIX:
        raise _error(f"{path} is neither a folder nor a {WEIGHTS_SUFFIX} checkpoint")
    return FoundModel(name=path.stem, path=path, configs=_check_checkpoint(path, configs, known))


def _fetched(hub_id: HubId, fetch: FetchSnapshot) -> Path:
    try:
        return fetch(hub_id)
    except ModelUnavailableError as error:
        raise _error(f"{str(hub_id)!r} is no path here, and as a model of the hub: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownConfigs:
    """Configs for checkpoints that have none beside them.

    Attributes:
        fetch: brings CLIP's vocabulary.
        cache: folder that they are put together in.
    """

    fetch: FetchVocabulary
    cache: Path

    def of(self, checkpoint: Path, header: CheckpointHeader) -> Path:
        """The folder for a checkpoint.

        Raises:
            InvalidArgumentError: there is no vocabulary, the cache cannot be written, or the checkpoint not be read.
        """
        try:
            return write_configs(architecture_of(checkpoint, header), self.fetch(), self.cache)
        except ModelFolderError as error:
            raise _error(f"{checkpoint} cannot be loaded: {error}") from error
        except ModelUnavailableError as error:
            listed = " or ".join(map(str, places_of_configs(checkpoint)))
            raise _error(
                f"{checkpoint.name} holds no tokenizer, and CLIP's vocabulary cannot be had: {error}; fetch it once "
                f"with `hf download {CLIP_REPOSITORY} {' '.join(VOCABULARY_FILES)}`, or put configs and tokenizers, "
                f"such as those of the diffusers folder that it was made from, into {listed}, or name their folder "
                f"with {CONFIG_OPTION}"
            ) from error
        except OSError as error:
            raise _error(
                f"{self.cache} cannot be written (set {CACHE_VARIABLE} to use another folder): {error}"
            ) from error


def _check_checkpoint(path: Path, given: str | None, known: KnownConfigs) -> Path:
    """The folder of the checkpoint's configs, which fit it."""
    try:
        header = CheckpointHeader.read(path)
        pipeline = header.pipeline_class()
        said_by(header)
    except ModelFolderError as error:
        raise _error(f"{path} cannot be loaded: {error}") from error
    if given is not None:
        configs = Path(given).expanduser().resolve()
    else:
        configs = next((place for place in places_of_configs(path) if place.is_dir()), None) or known.of(path, header)
    option = OPTION if given is None else CONFIG_OPTION
    described = _pipeline_of(configs, option)
    if described != pipeline:
        raise _error(f"{path.name} holds a {pipeline}, but {configs} describes a {described}", option)
    for part in ("unet", "vae", *(f"text_encoder{suffix}" for suffix in ("", "_2")[: len(TEXT_PREFIXES[pipeline])])):
        if not (configs / part / "config.json").is_file():
            raise _error(f"{configs} has no {part}/config.json", option)
    return configs


def _check_folder(path: Path) -> None:
    pipeline = _pipeline_of(path)
    try:
        known = known_families()
    except ModelFolderError as error:
        raise _error(str(error)) from error
    if pipeline not in known:
        raise _error(f"{path} is a {pipeline!r}, which no worker can load; known are: {', '.join(sorted(known))}")
    weights = sorted(path.glob(f"*/*{WEIGHTS_SUFFIX}"))
    if not weights:
        raise _error(f"{path} holds no safetensors weights; other formats are not loaded, since they can run code")
    for file in weights:
        if not os.access(file, os.R_OK):
            raise _error(f"{file} may not be read by this user")


def _pipeline_of(path: Path, option: str = OPTION) -> str:
    """The pipeline class that a folder's index names."""
    if not path.is_dir():
        raise _error(f"{path} is not a folder" if path.exists() else f"{path} does not exist", option)
    index, what = path / _INDEX, f"{path} is no model in diffusers format"
    try:
        described = json.loads(read_text(index))
    except OSError as error:
        raise _error(f"{what}: {_INDEX} cannot be read ({error.strerror})", option) from error
    except (ValueError, RecursionError) as error:
        raise _error(f"{what}: {_INDEX} is no JSON ({error})", option) from error
    pipeline = described.get("_class_name") if isinstance(described, dict) else None
    if not isinstance(pipeline, str):
        raise _error(f"{what}: {_INDEX} names no pipeline", option)
    return pipeline


def _error(description: str, option: str = OPTION) -> InvalidArgumentError:
    return InvalidArgumentError.of(option, description)
