"""Where a coordinator may be."""

from __future__ import annotations

import pytest

from polyrhythm.process.address import SOCKET_PATH_BYTES_MAX, UNIX, check_address


@pytest.mark.parametrize(
    "text", ["127.0.0.1:50051", "coordinator.lan:1", "[::1]:50051", "unix:/run/p.sock", "unix:/tmp/a-b_c.d+e@f"]
)
def test_addresses(text: str) -> None:
    assert check_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:", ":1", "host:0", "host:70000", "a b:1", "http://x:1", "::1:5", "[::1]"),
        *("unix:", "unix:p.sock", "unix:/a b", "unix:/a%20b", "unix:/a?b", "unix:///run/p#q"),
        UNIX + "/" + "a" * SOCKET_PATH_BYTES_MAX,
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be |at most"):
        check_address(text)
