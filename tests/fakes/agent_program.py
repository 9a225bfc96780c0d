"""Stands in for ``polyrhythm-agent``: same options, does nothing until its lifeline ends.

FAKE_AGENT_FAILS names an agent that ends at once, with the exit code and the words of a bad option.
"""

from __future__ import annotations

import argparse
import os
import sys

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    parser.add_argument("--lifeline-fd", type=int)
    parser.add_argument("--list-devices", action="store_true")
    options, _ = parser.parse_known_args()
    if options.list_devices:
        sys.stdout.write(os.environ.get("FAKE_DEVICES", ""))
        sys.stderr.write("polyrhythm-agent: no CUDA device: this is a fake\n")
        sys.exit(0)
    if options.name == os.environ.get("FAKE_AGENT_FAILS"):
        sys.stderr.write("polyrhythm-agent: --model: no weights\n")
        sys.exit(2)
    os.read(options.lifeline_fd, 1)
