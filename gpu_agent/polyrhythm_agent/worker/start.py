"""How a worker's process begins: with the garbage collector at rest while its libraries are imported.

torch, diffusers and transformers make millions of objects that live as long as the process. The collector would walk
through them again and again: for a quarter of the seconds of their import, and later in the middle of steps.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Imports the worker, leaves what is there by then out of every later collection, and runs it."""
    gc.disable()
    from polyrhythm_agent.worker.main import main as work

    gc.freeze()
    gc.enable()
    work()


if __name__ == "__main__":
    main()
