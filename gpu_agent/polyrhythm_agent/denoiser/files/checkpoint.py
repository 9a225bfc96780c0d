"""A single-file checkpoint to a folder in diffusers format, once: every later load reads the folder.

Owns the cache of such folders. Weights are renamed by diffusers' own conversion, in the types that they have;
configs and tokenizers are copied, but for what marks in the file say of them. So the same files make the same folder
everywhere, and the same fingerprint.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import diffusers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyrhythm_agent.denoiser.files.checkpoint_marks import marked_configs
from polyrhythm_agent.denoiser.files.checkpoint_parts import PIPELINE_PARTS, CheckpointPart, convert_part
from polyrhythm_agent.denoiser.files.folder import INDEX_FILE, ModelFolder
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader
from polyrhythm_agent.model_files.checkpoint_spec import NOTICES_FILE

LAYOUT = 3
"""Counts changes of what a conversion writes; older folders are then left alone and never read."""

COPIED_SUFFIXES = frozenset({".json", ".txt", ".model"})

BLOCK_BYTES = 64 << 20
"""Read at a time between two signs of progress."""
LOOK_INTERVAL_S = 0.25
"""How often a lock that another process holds, and a file that grows, are looked at: neither can be awaited."""

Progress: TypeAlias = Callable[[str], None]
"""Told, in words, each time that a conversion has got further; called on any thread."""


def _unwatched(_told: str) -> None:
    pass


def diffusers_folder(path: Path, configs: Path | None, *, cache: Path, progress: Progress = _unwatched) -> Path:
    """The folder to load a model from: itself, or the one that its checkpoint is converted to.

    Several processes may ask at once: one converts, the others wait for it.

    Args:
        path: folder in diffusers format, or checkpoint file.
        configs: folder of a checkpoint's configs and tokenizers; None where ``path`` is a folder.
        cache: where converted folders are kept; it may be emptied at any time while no agent loads.
        progress: is told of it, and while another process converts, which the kernel ends the wait for if it dies.

    Raises:
        ModelFolderError: the checkpoint does not fit its configs, or the cache cannot be written.
    """
    if configs is None:
        return path
    folder = ModelFolder.open(configs)
    header = CheckpointHeader.read(path)
    parts = PIPELINE_PARTS[header.pipeline_class()]
    copied = _files_to_copy(folder, parts)
    try:
        target = cache / "checkpoints" / f"{path.stem}-{_key(path, copied, progress)}"
        with _only_one(target.with_name(f"{target.name}.lock"), progress):
            if not target.is_dir():
                _convert(path, header, folder, copied, target, progress)
    except OSError as error:
        raise ModelFolderError(
            f"model: {path} cannot be converted into {cache} (set POLYRHYTHM_CACHE to use another folder): {error}"
        ) from error
    return target


def _convert(
    checkpoint: Path,
    header: CheckpointHeader,
    configs: ModelFolder,
    copied: Mapping[str, Path],
    target: Path,
    progress: Progress,
) -> None:
    """Writes the folder beside its place first, so that a conversion that is cut off leaves none."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed: the lock is ours
    try:
        for name, source in copied.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / name)
        weights = _read(checkpoint, progress)
        for name, content in marked_configs(header, weights, configs).items():
            (partial / name).write_text(json.dumps(content, indent=2, sort_keys=True))
        for part in PIPELINE_PARTS[header.pipeline_class()]:
            converted = convert_part(part, weights, configs)
            file = partial / part.name / part.weights_file
            with _watched(file, progress):
                save_file(converted, file, metadata={"format": "pt"})
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(checkpoint: Path, progress: Progress) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    try:
        with safe_open(checkpoint, framework="pt") as file:
            for name in file.offset_keys():
                weights[name] = file.get_tensor(name)
                progress(f"read {len(weights)} weights of {checkpoint.name}")
    except SafetensorError as error:
        raise ModelFolderError(f"model: {checkpoint} cannot be read: {error}") from error
    return weights


@contextmanager
def _watched(file: Path, progress: Progress) -> Generator[None]:
    """Tells of a file's growth while the body writes it in one call."""
    written = threading.Event()

    def watch() -> None:
        known_bytes = 0
        while not written.wait(LOOK_INTERVAL_S):
            size_bytes = file.stat().st_size if file.exists() else 0
            if size_bytes > known_bytes:
                known_bytes = size_bytes
                progress(f"wrote {size_bytes >> 20} MiB of {file.parent.name}")

    watcher = threading.Thread(target=watch, name="conversion", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        written.set()
        watcher.join()
    progress(f"converted {file.parent.name}")


def _files_to_copy(configs: ModelFolder, parts: tuple[CheckpointPart, ...]) -> dict[str, Path]:
    """Configs and vocabularies by their names in the folder, in order; no weights, and no index of their shards."""
    folders = ["scheduler"]
    for part in parts:
        folders.append(part.name)
        if part.tokenizer is not None:
            folders.append(part.tokenizer)
    found = {name: configs.path / name for name in (INDEX_FILE, NOTICES_FILE) if (configs.path / name).is_file()}
    for folder in sorted(folders):
        for path in sorted((configs.path / folder).glob("*")):
            if path.is_file() and path.suffix in COPIED_SUFFIXES and not path.name.endswith(".index.json"):
                found[f"{folder}/{path.name}"] = path
    return found


def _key(checkpoint: Path, copied: Mapping[str, Path], progress: Progress) -> str:
    """Of contents alone: a moved file is not converted again, a changed one is."""
    total = hashlib.sha256(f"{LAYOUT} {diffusers.__version__}\n".encode())
    for name, path in {"": checkpoint, **copied}.items():
        total.update(f"{name}\0{_digest(path, progress)}\n".encode())
    return total.hexdigest()[:16]


def _digest(path: Path, progress: Progress) -> str:
    found, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.update(block)
            size_bytes += len(block)
            progress(f"looked through {size_bytes >> 20} MiB of {path.name}")
    return found.hexdigest()


@contextmanager
def _only_one(lock: Path, progress: Progress) -> Generator[None]:
    """Held by one process at a time; the kernel lets go of it when its holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _is_free(handle):
            progress("waits for another process that converts it")
            time.sleep(LOOK_INTERVAL_S)
        yield
    finally:
        os.close(handle)


def _is_free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
