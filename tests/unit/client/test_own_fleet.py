"""What a command says of a fleet that it starts."""

from __future__ import annotations

from polyrhythm_client.cli.own_fleet import loading_line


def test_the_start_of_a_fleet_is_told_agent_by_agent() -> None:
    assert [loading_line(loaded, 2) for loaded in range(3)] == [
        "loading the model: 1 of 2",
        "loading the model: 2 of 2",
        "the fleet is ready",
    ]
