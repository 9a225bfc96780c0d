"""``polyrhythm-agent calibrate``: measures a model and writes the file beside it. Composition root.

Prints one JSON object a line: progress, and at the end what was written.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.process.environment import Daemon, told_by_variables
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm.process.standard_streams import forgive_standard_streams
from polyrhythm_agent.calibration.options import parser, read_task, with_variables
from polyrhythm_agent.host.current_folder import require_current_folder

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _end_with(lifeline_fd: int) -> None:
    """Ends this process when the pipe does, wherever it is."""

    def watch() -> None:
        while os.read(lifeline_fd, 1):
            pass
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def main() -> int:
    """Runs the command; returns its exit code."""
    forgive_standard_streams()
    arguments = parser().parse_args()
    log_to_stderr(agent="calibrate")
    if arguments.lifeline_fd is not None:
        _end_with(arguments.lifeline_fd)
    try:
        arguments, variables = with_variables(arguments)
        require_current_folder("the calibration")
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # cuda:N is the device that an agent calls so
        with told_by_variables(Daemon.AGENT, variables):
            task = read_task(arguments)
            from polyrhythm_agent.calibration.command import calibrate  # loads torch, which takes seconds

            calibrate(task, _say)
    except PolyrhythmError as error:
        sys.stderr.write(f"polyrhythm-agent calibrate: {error}\n")
        return EXIT_BAD_INPUT if isinstance(error, InvalidArgumentError) else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"polyrhythm-agent calibrate: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
