"""A model folder in diffusers format: its index, its parts' files, its fingerprint.

Owns which files a part is loaded from; builds no module. What is loaded and what is hashed are the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyrhythm.model.hub_id import WEIGHTS_SUFFIX
from polyrhythm_agent.denoiser.files.folder_contents import (
    CLASS_NAME,
    config_content,
    index_content,
    merges_content,
    scheduler_content,
    tokenizer_config_content,
    tokenizer_content,
    vocabulary_content,
)
from polyrhythm_agent.denoiser.files.weight_files import (
    PART_CONFIG,
    TRANSFORMERS,
    WEIGHT_STEMS,
    PartWeights,
    part_weights,
)
from polyrhythm_agent.denoiser.operators.plain import PLAIN
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_spec import NOTICES_FILE
from polyrhythm_agent.model_files.folder_text import BOM, read_object
from polyrhythm_agent.ports.operators import Operators

INDEX_FILE = "model_index.json"
SCHEDULER_PART, SCHEDULER_FILE = "scheduler", "scheduler_config.json"
CONFIG_FILES = (PART_CONFIG, SCHEDULER_FILE)
MERGES_FILE, SENTENCE_PIECES_FILE = "merges.txt", "spiece.model"
CONTENT_OF_TOKENIZER_FILES: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
    "added_tokens.json": vocabulary_content,
    "special_tokens_map.json": vocabulary_content,
    "tokenizer.json": tokenizer_content,
    "tokenizer_config.json": tokenizer_config_content,
    "vocab.json": vocabulary_content,
}
TOKENIZER_FILES = tuple(sorted((*CONTENT_OF_TOKENIZER_FILES, MERGES_FILE, SENTENCE_PIECES_FILE)))

TEXT_FILES = ("*.json", "*.txt")
"""What libraries read of a part beside its weights and binary vocabularies."""
CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that has an index.

    Attributes:
        path: where.
        index: contents of the index.
        offload: whether the denoiser's weights are to stay outside of the device's memory.
        operators: what is to compute the denoiser's products.
    """

    path: Path
    index: Mapping[str, Any]
    offload: bool = False
    operators: Operators = PLAIN

    @classmethod
    def open(cls, path: Path, *, offload: bool = False, operators: Operators = PLAIN) -> ModelFolder:
        """Reads the index.

        Raises:
            ModelFolderError: there is no folder, no index, or no JSON object in it.
        """
        if not path.is_dir():
            raise ModelFolderError(f"model: {path} is not a folder")
        if not (path / INDEX_FILE).is_file():
            raise ModelFolderError(f"model: {path} has no {INDEX_FILE}, so it is not a diffusers pipeline")
        return cls(path=path, index=read_object(path / INDEX_FILE), offload=offload, operators=operators)

    @property
    def pipeline_class(self) -> str:
        """Name of the pipeline's class in diffusers."""
        return str(self.index.get(CLASS_NAME, ""))

    @property
    def notices(self) -> tuple[str, ...]:
        """What users are to know of how the folder was made; empty unless it was made for a checkpoint.

        Raises:
            ModelFolderError: the file of it is no such.
        """
        file = self.path / NOTICES_FILE
        if not file.is_file():
            return ()
        told = read_object(file).get("notices")
        if not isinstance(told, list):
            raise ModelFolderError(f"model: {file} holds no list of notices")
        return tuple(map(str, told))

    def config_of(self, part: str, file: str) -> Mapping[str, Any]:
        """Config file of a part.

        Raises:
            ModelFolderError: it is missing or no JSON object.
        """
        path = self.path / part / file
        if not path.is_file():
            raise ModelFolderError(f"model: {self.path} has no {part}/{file}")
        return read_object(path)

    def weights_of(self, part: str) -> PartWeights:
        """The files that a part's weights are loaded from, by the rules of the library that the index names for it.

        Raises:
            ModelFolderError: as for ``part_weights``.
        """
        named = self.library_of(part)
        return part_weights(self.path / part, tuple(WEIGHT_STEMS) if named is None else (named,))

    def library_of(self, part: str) -> str | None:
        """The library that the index says a part is loaded by, diffusers or transformers; None if it says neither."""
        entry = self.index.get(part)
        named = entry[0] if isinstance(entry, list) and entry else None
        return named if isinstance(named, str) and named in WEIGHT_STEMS else None

    def class_of(self, part: str) -> str | None:
        """The class that the index names for a part; None if it names none."""
        entry = self.index.get(part)
        return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and None not in entry else None

    def require_safetensors(self, *parts: str) -> None:
        """Checks that each part's weights are there in the one format that is read, and under a name that is.

        Raises:
            ModelFolderError: names the first part without.
        """
        for part in parts:
            self.weights_of(part)

    def require_file(self, part: str, *names: str) -> None:
        """Checks that a part has at least one of some files.

        Raises:
            ModelFolderError: it has none of them.
        """
        if not any((self.path / part / name).is_file() for name in names):
            raise ModelFolderError(f"model: {self.path / part} holds neither {' nor '.join(names)}")

    @contextmanager
    def readable(self, part: str) -> Iterator[Path]:
        """A folder with this part in it that the libraries can read: this one, or a copy without marks of byte order.

        Weights are linked, not copied; the copy is gone when the context ends.
        """
        texts = (file for pattern in TEXT_FILES for file in (self.path / part).glob(pattern))
        marked = [file for file in texts if _begins_with_bom(file)]
        if not marked:
            yield self.path
            return
        with TemporaryDirectory(prefix="polyrhythm-") as copy:
            (Path(copy) / part).mkdir(parents=True)
            for file in (self.path / part).iterdir():
                target = Path(copy) / part / file.name
                if file in marked:
                    target.write_bytes(file.read_bytes().removeprefix(BOM))
                else:
                    target.symlink_to(file.absolute())
            yield Path(copy)

    def fingerprint(self, *parts: str, settings: Iterable[str] | None = None) -> str:
        """SHA-256 over what a model is loaded from, and over nothing else that lies in the folder.

        Equal weights, configs and vocabularies are equal wherever they lie and however their files are named: links, a
        variant's name, a licence and files that nobody loads do not show. Nor does how JSON is written, and what it
        says that loading does not read (``folder_contents``). Weights count by their files' bytes.

        Args:
            parts: subfolders that are loaded; none for all that the index names.
            settings: entries of the index that are read beside the scheduler's class; None for all but the parts.

        Raises:
            ModelFolderError: a JSON file that is loaded is none.
        """
        named = {name for name, entry in self.index.items() if isinstance(entry, list)}
        if settings is None:
            settings = self.index.keys() - named
        kept = {name: self.index[name] for name in (*settings, SCHEDULER_PART) if name in self.index}
        total = hashlib.sha256(index_content(kept, pipeline_class=self.pipeline_class))
        for part in sorted(parts or named):
            for name, digest in self._digests(part):
                total.update(f"{part}/{name}\0{digest}\n".encode())
        return total.hexdigest()

    def _digests(self, part: str) -> Iterator[tuple[str, str]]:
        """Of all that a part is loaded from, under names that do not depend on what its files are called."""
        path = self.path / part
        for name in (*CONFIG_FILES, *TOKENIZER_FILES):
            if (path / name).is_file():
                yield name, hashlib.sha256(self._content(part, name)).hexdigest()
        try:
            files = self.weights_of(part).files
        except ModelFolderError:  # schedulers and tokenizers have none, families from outside perhaps others
            files = tuple(sorted(path.glob(f"*{WEIGHTS_SUFFIX}")))
        for number, file in enumerate(files):
            yield f"weights {number}", _digest(file)

    def _content(self, part: str, name: str) -> bytes:
        """What counts of one of a part's files."""
        file = self.path / part / name
        if name == MERGES_FILE:
            return merges_content(file.read_bytes())
        if name == SENTENCE_PIECES_FILE:
            return file.read_bytes()
        if name in CONTENT_OF_TOKENIZER_FILES:
            return CONTENT_OF_TOKENIZER_FILES[name](read_object(file))
        indexed = self.class_of(part)
        if name == SCHEDULER_FILE:
            return scheduler_content(read_object(file), indexed_class=indexed, pipeline_class=self.pipeline_class)
        config, library = read_object(file), self.library_of(part)
        of_transformers = library == TRANSFORMERS or (library is None and CLASS_NAME not in config)
        return config_content(config, of_transformers=of_transformers, indexed_class=indexed)


def _begins_with_bom(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(BOM)) == BOM


def _digest(file: Path) -> str:
    content = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            content.update(chunk)
    return content.hexdigest()
