"""From options to a request: what the user wrote, over what a file to be repeated says, over the model's defaults."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageRequest, Overrides
from polyrhythm.job.request_checks import check_request
from polyrhythm_client.cli.options import ImageOptions, request_fields
from polyrhythm_client.parsing import parse_devices, parse_size
from polyrhythm_client.recipes.recipe import Recipe

_OVERRIDES = "overrides."


def image_request(options: ImageOptions, recipe: Recipe | None, *, preview_every: int | None = None) -> ImageRequest:
    """The request, checked as far as no model is needed.

    Args:
        options: as written.
        recipe: of a picture to make again; None for a new one.
        preview_every: steps between two previews; None for no previews, or those of the recipe.

    Raises:
        InvalidArgumentError: names every field that is wrong.
    """
    settings = _settings(options)
    if preview_every is not None:
        settings["preview_every_steps"] = preview_every
    base = ImageRequest(prompt="") if recipe is None else recipe.request
    if options.prompt is None and (recipe is None or recipe.bare):
        raise InvalidArgumentError.of("prompt", "must be given")
    request = replace(base, **settings)
    check_request(request)
    if options.negative and request.guidance is not None and request.guidance <= 1.0:
        message = f"has no effect with guidance {request.guidance:g}: 1 and less ignore it; leave it out"
        raise InvalidArgumentError.of("negative", message)
    return request


def _settings(options: ImageOptions) -> dict[str, Any]:
    """Fields of a request that the options set.

    Raises:
        InvalidArgumentError: a size or a list of devices is none.
    """
    settings = {request_fields()[name]: value for name, value in asdict(options).items() if value is not None}
    if options.size is not None:
        settings["width_px"], settings["height_px"] = parse_size(settings.pop("size"))
    if options.devices is not None:
        settings["overrides.devices"] = parse_devices(options.devices)
    overrides = {
        path.removeprefix(_OVERRIDES): value for path, value in settings.items() if path.startswith(_OVERRIDES)
    }
    settings = {path: value for path, value in settings.items() if not path.startswith(_OVERRIDES)}
    return {**settings, "overrides": Overrides(**overrides)} if overrides else settings
