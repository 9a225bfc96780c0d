"""The size that a denoiser was trained on, as its config says it: sides of the latent, in whole numbers.

Owns which values mean a size. Diffusers asks nothing of them, and makes of others what it may: nothing, or an error at
the first picture.
"""

from __future__ import annotations

from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.files.folder_contents import without_used_defaults
from polyrhythm_agent.denoiser.files.weight_files import PART_CONFIG
from polyrhythm_agent.errors import ModelFolderError

SIZE = "sample_size"
PATCH = "patch_size"
_PATCH_OF_DIFFUSERS = 2
"""Where the config of a transformer over tokens leaves it out."""
_WHOLE = "a whole number of latents, 1 at least"


def trained_sides(part: str, size: object) -> tuple[int, int]:
    """Height and width, which a UNet's config has as one side or as both.

    Args:
        part: name of the denoiser.
        size: what its config says.

    Raises:
        ModelFolderError: it is something else.
    """
    match size:
        case [height, width] if _is_side(height) and _is_side(width):
            return height, width
        case int() if _is_side(size):
            return size, size
        case _:
            raise ModelFolderError(f"{part}: {SIZE} must be {_WHOLE}, or two, height and width; got {size!r}")


def require_trained_side(folder: ModelFolder, part: str) -> None:
    """Checks what the config of a transformer over tokens says: one side of whole patches, if it names a size at all.

    Before it is loaded, since its positions are computed from it. A picture of broken patches cannot be made, so a
    model of such a size could not make one of its default size.

    Raises:
        ModelFolderError: it says something else.
    """
    config = without_used_defaults(folder.config_of(part, PART_CONFIG))
    if SIZE in config and not _is_side(config[SIZE]):
        raise ModelFolderError(f"{part}: {SIZE} must be {_WHOLE}; got {config[SIZE]!r}")
    patch = config.get(PATCH, _PATCH_OF_DIFFUSERS)
    if SIZE in config and _is_side(patch) and config[SIZE] % patch:
        raise ModelFolderError(f"{part}: {SIZE} must be a multiple of {PATCH}, {patch}; got {config[SIZE]}")


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
