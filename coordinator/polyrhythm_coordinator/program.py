"""The installed command ``polyrhythm-coordinator``: says what is missing before anything that needs it is imported."""

from __future__ import annotations

from polyrhythm.process.roles import Role, end_unless_installed


def main() -> None:
    """Runs the command, or says how to install it."""
    end_unless_installed("polyrhythm-coordinator", Role.COORDINATOR)
    from polyrhythm_coordinator.server import main as run

    run()
