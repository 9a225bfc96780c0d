"""Opens a blocking client, forks, and prints what became of calls in the child; its argument is the address.

A process of its own, as a user's is: forking a test runner would fork its servers' threads as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable

from polyrhythm_client import Client, ForkedError, ImageRequest

CHILD_S = 10
"""A child that hangs is ended by its alarm."""
REFUSED = 3
REQUEST = ImageRequest(prompt="red apple")


def in_a_fork(work: Callable[[], object]) -> str:
    """What came of some work in a forked process: done, refused, or how the process ended."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_S)
        code = 0
        try:
            work()
        except ForkedError:
            code = REFUSED
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return {0: "done", REFUSED: "refused"}.get(os.waitstatus_to_exitcode(status), f"ended with {status}")


def main(address: str) -> None:
    """Forks for each call, then makes one in the parent."""
    with Client(address) as client:
        events = client.generate(REQUEST)
        next(events)
        told = {
            "a call": in_a_fork(client.agents),
            "a picture": in_a_fork(lambda: client.picture(REQUEST)),
            "an event": in_a_fork(lambda: next(events)),
            "another client": in_a_fork(lambda: Client(address)),
            "the end of events": in_a_fork(events.close),
            "the end of the client": in_a_fork(client.close),
            "agents of the parent": len(client.agents()),
        }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
