"""Which files diffusers and transformers load the weights of one part of a model from.

Owns their rules, which differ: of a single file and an index of shards under the same name diffusers takes the index,
transformers the single file, and its config may name another one. What no rule decides is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.model.hub_id import WEIGHTS_SUFFIX
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.folder_text import read_object

DIFFUSERS, TRANSFORMERS = "diffusers", "transformers"
WEIGHT_STEMS = {DIFFUSERS: "diffusion_pytorch_model", TRANSFORMERS: "model"}
"""How weights are named, by the library that writes and reads them."""

VARIANTS = (None, "fp32", "bf16", "fp16")
"""Precisions that files may be in and named after: the first that a part has is loaded."""

PART_CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
NAMED_WEIGHTS = "transformers_weights"
"""Key of a config of transformers: the file that is loaded, whatever else is there."""
SHARDS_SUFFIX = ".index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWeights:
    """The files that a part's weights are loaded from.

    Attributes:
        variant: precision that they are named after; None for no such name.
        files: all of them, in order.
    """

    variant: str | None
    files: tuple[Path, ...]


def part_weights(path: Path, libraries: Sequence[str]) -> PartWeights:
    """The files that a part's weights are loaded from: one, or those that an index of shards names.

    Args:
        path: folder of the part.
        libraries: that may load it.

    Raises:
        ModelFolderError: there are none under a name that is loaded, a shard is missing, or it cannot be said what
            would be loaded.
    """
    if TRANSFORMERS in libraries and (path / ADAPTER_CONFIG).is_file():
        raise ModelFolderError(f"model: {path} has {ADAPTER_CONFIG}, and adapters are not loaded here; merge it")
    if TRANSFORMERS in libraries and (named := _named_in_config(path)) is not None:
        return PartWeights(variant=None, files=named)
    for variant in VARIANTS:
        found = {library: files for library in libraries if (files := _files_of(path, library, variant))}
        if len(found) > 1:
            names = " and ".join(files[0].name for files in found.values())
            raise ModelFolderError(
                f"model: {path} holds {names}, which different libraries load, and model_index.json does not say which"
            )
        for files in found.values():
            return PartWeights(variant=variant, files=files)
    found_names = ", ".join(sorted(file.name for file in path.glob(f"*{WEIGHTS_SUFFIX}")))
    told = (
        f"only {found_names}, which is no name that weights are loaded by"
        if found_names
        else f"no {WEIGHTS_SUFFIX} file"
    )
    wanted = " or ".join(f"{WEIGHT_STEMS[library]}{WEIGHTS_SUFFIX}" for library in libraries)
    raise ModelFolderError(f"model: {path} holds {told}; it should be {wanted}")


def _files_of(path: Path, library: str, variant: str | None) -> tuple[Path, ...]:
    """The weights of one library's name and one precision; none if they are not there."""
    name = f"{WEIGHT_STEMS[library]}{WEIGHTS_SUFFIX}"
    single, index = path / _in_variant(name, variant), path / _in_variant(f"{name}{SHARDS_SUFFIX}", variant)
    old_index = path / f"{name}.{variant}{SHARDS_SUFFIX}"
    if library == DIFFUSERS and single.is_file() and not index.is_file() and old_index.is_file():
        # diffusers takes either, by whether a folder above has a dot in its name
        raise ModelFolderError(f"model: {path} holds both {single.name} and {old_index.name}; only one may be there")
    preferred = (index, single) if library == DIFFUSERS else (single, index)
    chosen = next((file for file in preferred if file.is_file()), None)
    if chosen is None:
        return ()
    return (single,) if chosen == single else _shards(index)


def _in_variant(name: str, variant: str | None) -> str:
    stem, _, suffix = name.rpartition(".")
    return name if variant is None else f"{stem}.{variant}.{suffix}"


def _named_in_config(path: Path) -> tuple[Path, ...] | None:
    """The file that a config of transformers names, or the shards that it lists; None where it names none."""
    config = path / PART_CONFIG
    name = read_object(config).get(NAMED_WEIGHTS) if config.is_file() else None
    if name is None:
        return None
    file = path / str(name)
    if file.name != name or not name.endswith((WEIGHTS_SUFFIX, f"{WEIGHTS_SUFFIX}{SHARDS_SUFFIX}")):
        raise ModelFolderError(f"model: {config} has {NAMED_WEIGHTS} {name!r}, which is no {WEIGHTS_SUFFIX} beside it")
    if not file.is_file():
        raise ModelFolderError(f"model: {config} has {NAMED_WEIGHTS} {name!r}, which is not there")
    return _shards(file) if name.endswith(SHARDS_SUFFIX) else (file,)


def _shards(index: Path) -> tuple[Path, ...]:
    shards = read_object(index).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        raise ModelFolderError(f"model: {index} names {', '.join(missing) or 'no files'}, which are not there")
    return tuple(index.parent / name for name in names)
