# ruff: noqa: INP001 - a script of the image, no package
"""Health check of an agent's container: its coordinator knows it, and its worker is there.

Reads the same environment as the agent. Exits with 0 when healthy, with 1 and a reason when not.
"""

from __future__ import annotations

import os
import sys

from polyrhythm.errors import PolyrhythmError
from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId
from polyrhythm_client import SyncClient

HEALTHY = frozenset({AgentState.READY, AgentState.WORKING})


def main() -> int:
    """Asks the coordinator."""
    address, name = os.environ["POLYRHYTHM_AGENT_COORDINATOR"], AgentId(os.environ["POLYRHYTHM_AGENT_NAME"])
    try:
        with SyncClient(address) as client:
            states = {view.agent: view.state for view in client.agents()}
    except PolyrhythmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    state = states.get(name)
    sys.stdout.write(f"{name}: {'unknown to the coordinator' if state is None else state}\n")
    return 0 if state in HEALTHY else 1


if __name__ == "__main__":
    sys.exit(main())
