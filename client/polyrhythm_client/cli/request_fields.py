"""Fields of a request beside the options that set them: errors name the first, and users wrote the second. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.job.request_checks import REQUEST
from polyrhythm_client.cli.options import request_fields


@cache
def options_by_field() -> Mapping[str, str]:
    """The option that sets each field of a request, by the field's path."""
    fields = {field: option.replace("_", "-") for option, field in request_fields().items()}
    size = fields.pop("size")
    fields |= {"width_px": size, "height_px": size, "preview_every_steps": "preview-every", "plan": "plan"}
    return {f"{REQUEST}.{field}": option for field, option in fields.items()}


def in_options(error: PolyrhythmError) -> PolyrhythmError:
    """The error with options in place of the fields of a request; what lies within a field stays behind its option."""
    if not isinstance(error, InvalidArgumentError):
        return error
    return InvalidArgumentError(*(replace(wrong, field=_option(wrong.field)) for wrong in error.violations))


def _option(field: str) -> str:
    options = options_by_field()
    parts = re.split(r"(?=[.\[])", field)
    for end in range(len(parts), 0, -1):
        if (path := "".join(parts[:end])) in options:
            return options[path] + "".join(parts[end:])
    return field
