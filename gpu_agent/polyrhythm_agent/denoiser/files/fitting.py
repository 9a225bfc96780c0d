"""Whether the parts of a pipeline fit one another, by their configs and before any of them computes.

Owns the words of the refusal. What does not fit is refused when the model is loaded: later its agent would already have
said that it is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.errors import ModelFolderError

PIXEL_CHANNELS = 3


def require_autoencoder(folder: ModelFolder, vae: Any, latent_channels: int) -> None:
    """Checks that an autoencoder turns the denoiser's latents into pictures.

    Args:
        folder: of the pipeline.
        vae: its autoencoder, or the outline of it.
        latent_channels: that the denoiser takes.

    Raises:
        ModelFolderError: it takes other latents, or makes something else than red, green and blue.
    """
    takes, makes = vae.config["latent_channels"], vae.config["out_channels"]
    if takes != latent_channels:
        raise ModelFolderError(
            f"model: the autoencoder in {folder.path} takes latents of {takes} channels, its denoiser makes "
            f"{latent_channels}"
        )
    if makes != PIXEL_CHANNELS:
        raise ModelFolderError(
            f"model: the autoencoder in {folder.path} makes pictures of {makes} channels, not of {PIXEL_CHANNELS}"
        )


def require_text_width(folder: ModelFolder, made: Mapping[str, int], *, part: str, key: str, taken: int) -> None:
    """Checks that the denoiser attends to embeddings of the width that its text encoders make.

    Args:
        folder: of the pipeline.
        made: features of one token by the name of the encoder; those of all encoders stand beside one another.
        part: name of the denoiser.
        key: of its config, that names what it takes.
        taken: features of one token that it takes.

    Raises:
        ModelFolderError: it takes another width.
    """
    width = sum(made.values())
    if width == taken:
        return
    each = " + ".join(map(str, made.values()))
    makes = f"makes embeddings {width}" if len(made) == 1 else f"make embeddings {each} = {width}"
    raise ModelFolderError(
        f"model: {' and '.join(made)} in {folder.path} {makes} wide, its {part} takes {taken} ({key})"
    )


def require_pooled_width(folder: ModelFolder, encoder: str, made: int, taken: int) -> None:
    """Checks that the denoiser is told pooled texts of the width that a text encoder makes.

    Args:
        folder: of the pipeline.
        encoder: name of the encoder.
        made: features of a pooled text; 0 if the pipeline pools none.
        taken: features that the denoiser takes beside the sizes.

    Raises:
        ModelFolderError: it takes another width.
    """
    if made != taken:
        raise ModelFolderError(
            f"model: {encoder} in {folder.path} makes pooled texts {made} wide (projection_dim), its unet takes "
            f"{taken} beside the sizes (projection_class_embeddings_input_dim)"
        )
