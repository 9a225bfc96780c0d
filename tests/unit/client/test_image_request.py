"""From options to a request."""

from __future__ import annotations

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.options import ImageOptions


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_what_to_avoid_is_refused_where_the_guidance_ignores_it(guidance: float) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        image_request(ImageOptions(prompt="red apple", negative="blur", guidance=guidance), None)
    (violation,) = caught.value.violations
    assert violation.field == "negative"
    assert "has no effect with guidance" in violation.description


@pytest.mark.parametrize(("negative", "guidance"), [("blur", 1.1), ("blur", None), ("", 1.0), (None, 1.0)])
def test_it_is_taken_where_it_may_have_an_effect(negative: str | None, guidance: float | None) -> None:
    request = image_request(ImageOptions(prompt="red apple", negative=negative, guidance=guidance), None)
    assert (request.negative_prompt, request.guidance) == (negative or "", guidance)
