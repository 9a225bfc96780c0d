"""What a fleet says of fields, users are told of the options that they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from google.protobuf.descriptor import FieldDescriptor

from polyrhythm.errors import FieldViolation, InvalidArgumentError, NoAgentsError
from polyrhythm.v1 import image_service_pb2
from polyrhythm_client.cli.main import app
from polyrhythm_client.cli.request_fields import in_options, options_by_field


def fields(descriptor: Any, path: str = "") -> Iterator[str]:
    """Paths of what can be set in a request; a plan is set as a whole."""
    for field in descriptor.fields:
        inner = f"{path}{field.name}"
        if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.name != "Plan":
            yield from fields(field.message_type, f"{inner}.")
        else:
            yield inner


def test_every_field_of_a_request_has_an_option_of_the_command() -> None:
    assert set(fields(image_service_pb2.GenerateRequest.DESCRIPTOR)) == options_by_field().keys()
    commands: Any = typer.main.get_command(app)
    names = {max(parameter.opts, key=len).lstrip("-") for parameter in commands.commands["generate"].params}
    assert set(options_by_field().values()) <= names


def test_fields_become_options_with_what_lies_within_them() -> None:
    told = in_options(
        InvalidArgumentError(
            *(
                FieldViolation(field=field, description="is odd")
                for field in ("image.overrides.warmup_steps", "image.plan.segments[1].exchange", "image.planet", "port")
            )
        )
    )
    assert isinstance(told, InvalidArgumentError)
    assert [wrong.field for wrong in told.violations] == ["warmup", "plan.segments[1].exchange", "image.planet", "port"]
    assert str(told).startswith("warmup: is odd; plan.segments[1].exchange: is odd")


def test_other_errors_stay_what_they_are() -> None:
    error = NoAgentsError("image.prompt: nobody is there")
    assert in_options(error) is error
