"""Models of the Hugging Face hub, through its own client and its own cache. No torch: the daemon fetches.

Owns which files of a repository are fetched, and the translation of what the client raises. Where the cache lies,
whether the network may be used and who the user is, are the client's own settings (``HF_HOME``, ``HF_HUB_OFFLINE``, a
stored login).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from polyrhythm.model.hub_id import HubId
from polyrhythm_agent.errors import ModelUnavailableError
from polyrhythm_agent.model_files.known_configs import VOCABULARY_FILES

FetchSnapshot = Callable[[HubId], Path]
"""The folder of a model of the hub, complete; raises ``ModelUnavailableError``."""

FetchVocabulary = Callable[[], Path]
"""A folder with CLIP's vocabulary; raises ``ModelUnavailableError``."""

CLIP_REPOSITORY = "openai/clip-vit-large-patch14"
"""Its authors' own, under the MIT licence."""

FETCHED = ("*/*.safetensors", "*.json", "*.txt", "*.model")
"""Never a pickle. Weights lie in the parts' folders; a single file beside them holds the same once more."""

PRECISIONS = ("fp16", "bf16", "fp32")
SAME_ONCE_MORE = ("*.fp16[.-]*", "*.bf16[.-]*", "*.non_ema[.-]*", "*/flax_*")
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack")
UNUSED_PARTS = ("safety_checker/*", "feature_extractor/*", "image_encoder/*")
LEFT_OUT = (*SAME_ONCE_MORE, *UNUSED_PARTS)

log = structlog.get_logger()


def fetch_snapshot(model: HubId) -> Path:
    """Fetches what is not in the client's cache yet; without a network, what is there is used.

    Raises:
        ModelUnavailableError: there is no such model or revision, it may not be read, or no network and no copy.
    """
    log.info("looking for a model of the hub", model=str(model))
    folder = _download(model, FETCHED, LEFT_OUT)
    variants = variants_wanted(folder)
    return _download(model, variants, PICKLES) if variants else folder


def variants_wanted(folder: Path) -> tuple[str, ...]:
    """Patterns of weights named after their precision, for the parts that came without others: they have no others.

    Those of an earlier fetch do not count, since that may have been broken off between two files.
    """
    bare = (config.parent for config in folder.glob("*/config.json") if not _has_fetched_weights(config.parent))
    return tuple(f"{part.name}/*.{precision}*" for part in sorted(bare) for precision in PRECISIONS)


def _has_fetched_weights(part: Path) -> bool:
    """Whether weights are there that are fetched of every part."""
    return any(not any(file.match(pattern) for pattern in SAME_ONCE_MORE) for file in part.glob("*.safetensors"))


def fetch_clip_vocabulary() -> Path:
    """Fetches the vocabulary of CLIP, if it is not in the client's cache yet.

    Raises:
        ModelUnavailableError: no network and no copy.
    """
    log.info("looking for CLIP's vocabulary on the hub", repository=CLIP_REPOSITORY)
    folder = _download(HubId(repository=CLIP_REPOSITORY, revision=None), VOCABULARY_FILES)
    if missing := [name for name in VOCABULARY_FILES if not (folder / name).is_file()]:
        raise ModelUnavailableError(f"the hub cannot be reached, and its cache has no {' and no '.join(missing)}")
    return folder


def _download(model: HubId, fetched: Sequence[str], left_out: Sequence[str] = ()) -> Path:
    # Half a second that only a model of the hub is worth.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # of the HTTP library that this version of the client uses
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            model.repository,
            revision=model.revision,
            allow_patterns=list(fetched),
            ignore_patterns=list(left_out),
        )
    except LocalEntryNotFoundError as error:
        raise ModelUnavailableError(
            f"the hub cannot be reached, and there is no whole copy in its cache ({_first_line(error)})"
        ) from error
    except GatedRepoError as error:
        raise ModelUnavailableError(
            "the hub lets only users read it who accepted its terms; log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailableError("the hub has no such model, or not for this user") from error
    except RevisionNotFoundError as error:
        raise ModelUnavailableError(f"the model has no revision {model.revision!r} on the hub") from error
    except (HFValidationError, HTTPError, OSError) as error:
        raise ModelUnavailableError(f"it cannot be fetched: {_first_line(error)}") from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
