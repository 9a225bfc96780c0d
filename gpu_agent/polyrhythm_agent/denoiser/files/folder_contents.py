"""What counts of the text files of a model folder: the same bytes wherever the same model is loaded from them.

Owns which keys loading does not read, and the form of what is left. JSON counts by its contents, not by how it is
written; what a file says for people, for training or for other libraries does not count.

The forms are those in which the libraries write such files, and what stands in the place of keys that are left out is
what the models that ship have there: their fingerprints, which their calibrations bear, were once made of the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from polyrhythm_agent.model_files.folder_text import BOM

CLASS_NAME = "_class_name"
PRIVATE = "_"
"""Begins what diffusers notes in its configs and does not hand to a class; but for the name of the class."""
USED_DEFAULTS = "_use_default_values"
"""Keys of a config of diffusers whose values are not read: the class's own defaults count."""

CORRECTED_BY_PIPELINE: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {"steps_offset": 1, "clip_sample": False},
}
"""What a pipeline's constructor sets in its scheduler's config, whatever the file says or leaves out.

Files of the first Stable Diffusion models have neither, and the classes' own defaults are those of models of pixels.
"""

UNREAD_OF_TRANSFORMERS: Mapping[str, Any] = {
    "_commit_hash": None,
    "_name_or_path": None,
    "architectures": None,  # the class is the loader's to choose
    "dtype": "float16",  # and so is the arithmetic
    "torch_dtype": None,
    "transformers_version": "5.23.0",
    "transformers_weights": None,  # a name of the file, whose bytes count
}
"""Keys of a text encoder's config that loading does not read, and what is hashed in their place; None for nothing."""

UNREAD_OF_TOKENIZERS: Mapping[str, Any] = {
    "added_tokens_file": None,
    "backend": "tokenizers",
    "chat_control_tokens": None,
    "chat_template": None,
    "clean_up_tokenization_spaces": None,  # of decoding
    "files_loaded": None,
    "is_local": None,
    "local_files_only": None,
    "merges_file": None,
    "name_or_path": None,
    "processor_class": None,
    "response_schema": None,
    "response_template": None,
    "special_tokens_map_file": None,
    "tokenizer_file": None,
    "vocab_file": None,
}
"""The same of ``tokenizer_config.json``: where the files once lay, and what is for chats. Encoding reads none of it."""

FIELDS = (
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"),
    *("model", "type", "id", "ids", "tokens", "content", "single_word", "lstrip", "rstrip", "normalized", "special"),
    *("normalizers", "precompiled_charsmap", "pretokenizers", "pattern", "behavior", "invert", "add_prefix_space"),
    *("trim_offsets", "use_regex", "replacement", "prepend_scheme", "split", "single", "pair", "special_tokens"),
    *("type_id", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"),
    *("byte_fallback", "ignore_merges", "vocab", "merges"),
)
FIELDS_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "Replace": ("type", "pattern", "content"),
    "RobertaProcessing": ("type", "sep", "cls", "trim_offsets", "add_prefix_space"),
    "Unigram": ("type", "unk_id", "vocab", "byte_fallback"),
}
"""In which order the tokenizers library writes the fields of its files; in any other order they say the same."""


def config_content(config: Mapping[str, Any], *, of_transformers: bool, indexed_class: str | None) -> bytes:
    """Of a part's config.

    Args:
        config: contents of the file.
        of_transformers: whether that library reads it; else diffusers does.
        indexed_class: class of the part by the index of the folder; None if it names none.
    """
    if of_transformers:
        standing_in = {**UNREAD_OF_TRANSFORMERS, "architectures": indexed_class and [indexed_class]}
        return _compact(_without(config, standing_in))
    named = config.get(CLASS_NAME, indexed_class)
    return _compact(_public(config) | ({} if named is None else {CLASS_NAME: named}))


def scheduler_content(config: Mapping[str, Any], *, indexed_class: str | None, pipeline_class: str) -> bytes:
    """Of a scheduler's config, as it runs; arguments as for ``scheduler_as_run``."""
    running = scheduler_as_run(config, indexed_class=indexed_class, pipeline_class=pipeline_class)
    named = {CLASS_NAME: running[CLASS_NAME]} if CLASS_NAME in running else {}
    return _compact(_public(running) | named)


def index_content(settings: Mapping[str, Any], *, pipeline_class: str) -> bytes:
    """Of those entries of the folder's index that are read."""
    return _compact(_public(settings) | {CLASS_NAME: pipeline_class})


def scheduler_as_run(config: Mapping[str, Any], *, indexed_class: str | None, pipeline_class: str) -> dict[str, Any]:
    """A scheduler's config once the pipeline is loaded.

    Args:
        config: contents of the file.
        indexed_class: class that the index names; it counts more than the file's.
        pipeline_class: of the folder.
    """
    named = {} if indexed_class is None else {CLASS_NAME: indexed_class}
    return {**without_used_defaults(config), **named, **CORRECTED_BY_PIPELINE.get(pipeline_class, {})}


def without_used_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of diffusers without the values that it says are not to be read."""
    listed = config.get(USED_DEFAULTS, ())
    unread = {USED_DEFAULTS, *(listed if isinstance(listed, list) else ())}
    return {name: value for name, value in config.items() if name not in unread}


def tokenizer_config_content(config: Mapping[str, Any]) -> bytes:
    """Of ``tokenizer_config.json``."""
    kept = _without(config, UNREAD_OF_TOKENIZERS)
    return (json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def tokenizer_content(tokenizer: Mapping[str, Any]) -> bytes:
    """Of ``tokenizer.json``."""
    return json.dumps(_ordered(tokenizer), indent=2, ensure_ascii=False).encode()


def vocabulary_content(vocabulary: Mapping[str, Any]) -> bytes:
    """Of ``vocab.json``, and of other tables of tokens."""
    return json.dumps(_ordered(vocabulary), separators=(",", ":"), ensure_ascii=False).encode()


def merges_content(merges: bytes) -> bytes:
    """Of ``merges.txt``, whatever its lines end with and whatever mark is before them."""
    return merges.removeprefix(BOM).replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n"


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in without_used_defaults(config).items() if not name.startswith(PRIVATE)}


def _without(config: Mapping[str, Any], unread: Mapping[str, Any]) -> dict[str, Any]:
    """Without keys that are not read, at any depth; with what is hashed in their place at the top."""
    kept = _read(config, frozenset(unread))
    return {**kept, **{name: value for name, value in unread.items() if value is not None}}


def _read(value: Any, unread: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _read(each, unread) for name, each in value.items() if name not in unread}
    return [_read(each, unread) for each in value] if isinstance(value, list) else value


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _ordered(value: Any) -> Any:
    """Tokens of a vocabulary by their numbers, fields of all else as the tokenizers library orders them."""
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value and all(type(each) is int for each in value.values()):
        return dict(sorted(value.items(), key=lambda item: (item[1], item[0])))
    fields = FIELDS_OF_TYPE.get(str(value.get("type")), FIELDS)
    place = {name: index for index, name in enumerate(fields)}
    return {name: _ordered(value[name]) for name in sorted(value, key=lambda name: (place.get(name, len(place)), name))}
