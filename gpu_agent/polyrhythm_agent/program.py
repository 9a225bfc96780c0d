"""The installed command ``polyrhythm-agent``: says what is missing before anything that needs it is imported."""

from __future__ import annotations

from polyrhythm.process.roles import Role, end_unless_installed


def main() -> int:
    """Runs the command, or says how to install it."""
    end_unless_installed("polyrhythm-agent", Role.AGENT)
    from polyrhythm_agent.daemon.main import main as run

    return run()
