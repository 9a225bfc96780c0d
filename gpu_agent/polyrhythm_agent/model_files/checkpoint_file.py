"""A single-file checkpoint in the layout of Stable Diffusion's own code, seen from its header. No torch.

Owns what such a file holds, and where its configs and tokenizers lie, which are not in it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyrhythm_agent.errors import ModelFolderError

HEADER_BYTES_MAX = 100_000_000
"""As in safetensors itself: a length beyond it is no header."""

DENOISER_PREFIX = "model.diffusion_model."
AUTOENCODER_PREFIX = "first_stage_model."
TEXT_PREFIXES = {
    "StableDiffusionPipeline": ("cond_stage_model.",),
    "StableDiffusionXLPipeline": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
"""Text encoders of each pipeline that a checkpoint can be read as; with the denoiser, they tell pipelines apart."""

OPEN_CLIP_OF_SD_2 = "cond_stage_model.model."
"""Where Stable Diffusion 2 has its text encoder; that of 1 is at another place."""

PLAIN_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
"""Of weights; others are scaled by rules that no file states."""

METADATA = "__metadata__"
"""Name in a header that is no tensor's."""

COUNTING_TYPES = frozenset({"I64", "I32", "BOOL"})
"""Of what is no weight, such as the numbers of positions."""


CODE_BY_TYPE = {"F64": "d", "F32": "f", "F16": "e", "BF16": "f"}
"""How ``struct`` calls plain types."""
NUMBERS_BYTES_MAX = 1 << 20
"""Of a tensor that is looked at without torch: some small one, and no more whatever a header says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHeader:
    """Names and types of a file's tensors, and what is said of them.

    Attributes:
        tensors: type by name.
        metadata: free texts by name.
        spans: first byte in the file and the one after the last, by a tensor's name; of those that say so.
    """

    tensors: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    @classmethod
    def read(cls, path: Path) -> CheckpointHeader:
        """Reads the header of a safetensors file: eight bytes of length, little endian, and so much JSON.

        Raises:
            ModelFolderError: it cannot be read, or is no safetensors file.
        """
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                text = file.read(length) if length <= HEADER_BYTES_MAX else b""
        except OSError as error:
            raise ModelFolderError(f"{path} cannot be read: {error.strerror}") from error
        try:
            described: Any = json.loads(text)
            metadata = described.pop(METADATA, None) or {}
            return cls(
                tensors={name: str(each["dtype"]) for name, each in described.items()},
                metadata={name: value for name, value in metadata.items() if isinstance(value, str)},
                spans={name: _span(each, 8 + length) for name, each in described.items() if "data_offsets" in each},
            )
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ModelFolderError(f"{path} is no safetensors file: it has no header, or a torn one") from error

    def pipeline_class(self) -> str:
        """The pipeline whose weights these are.

        Raises:
            ModelFolderError: it is none that can be read, or a part is not in the file.
        """
        if not self.has(DENOISER_PREFIX):
            raise ModelFolderError(f"it holds no {DENOISER_PREFIX}* and so is no Stable Diffusion checkpoint")
        found = [name for name, prefixes in TEXT_PREFIXES.items() if all(map(self.has, prefixes))]
        if not found:
            raise ModelFolderError("it holds no text encoder of Stable Diffusion 1, 2 or XL; no part may be missing")
        if not self.has(AUTOENCODER_PREFIX):
            raise ModelFolderError(f"it holds no autoencoder ({AUTOENCODER_PREFIX}*)")
        prefixes = (DENOISER_PREFIX, AUTOENCODER_PREFIX, *TEXT_PREFIXES[found[0]])
        require_plain(self.types(*prefixes), "it")
        return found[0]

    def numbers(self, path: Path, name: str) -> tuple[float, ...]:
        """Numbers of a small tensor of a plain type; none where it is not there, or is another.

        Args:
            path: of the file.
            name: of the tensor.

        Raises:
            ModelFolderError: they cannot be read.
        """
        begin, end = self.spans.get(name, (0, 0))
        code = CODE_BY_TYPE.get(self.tensors.get(name, ""))
        if code is None or not 0 < end - begin <= NUMBERS_BYTES_MAX:
            return ()
        try:
            with path.open("rb") as file:
                file.seek(begin)
                content = file.read(end - begin)
        except OSError as error:
            raise ModelFolderError(f"{path} cannot be read: {error.strerror}") from error
        if self.tensors[name] == "BF16":  # the upper half of an F32
            content = b"".join(b"\0\0" + content[place : place + 2] for place in range(0, len(content), 2))
        count = len(content) // struct.calcsize(code)
        return struct.unpack_from(f"<{count}{code}", content)

    def types(self, *prefixes: str) -> frozenset[str]:
        """Types of all tensors, or of those whose names begin so."""
        return frozenset(each for name, each in self.tensors.items() if name.startswith(prefixes or ""))

    def has(self, prefix: str) -> bool:
        """Whether there is a tensor whose name begins so."""
        return any(name.startswith(prefix) for name in self.tensors)


def require_plain(types: Iterable[str], owner: str) -> None:
    """Checks that weights are numbers as they stand.

    Args:
        types: of tensors.
        owner: whose, for people.

    Raises:
        ModelFolderError: some are of a type that needs a scale, such as fp8.
    """
    odd = sorted(set(types) - PLAIN_TYPES - COUNTING_TYPES)
    if odd:
        raise ModelFolderError(f"{owner} holds weights of {', '.join(odd)}; read are {', '.join(sorted(PLAIN_TYPES))}")


def _span(described: Mapping[str, Any], data_begins: int) -> tuple[int, int]:
    begin, end = described["data_offsets"]
    return data_begins + int(begin), data_begins + int(end)


def places_of_configs(checkpoint: Path) -> tuple[Path, ...]:
    """Where configs and tokenizers of a checkpoint are looked for when nobody says: beside it, first match wins."""
    return checkpoint.with_suffix(""), checkpoint.with_name(f"{checkpoint.name}.config")
