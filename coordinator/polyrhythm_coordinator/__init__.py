"""The coordinator: accepts jobs, plans them on unequal agents, and follows them to the picture.

Owns the public gRPC service. Must not import torch, and knows no model of its own.
"""

import os

from polyrhythm import __version__

# Read as numpy is imported. A search multiplies small matrices: more threads take a core from agents of this machine
# while they wait for each other, and find no plan sooner.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

__all__ = ["__version__"]
