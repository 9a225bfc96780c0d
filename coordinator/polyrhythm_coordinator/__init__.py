"""The coordinator: accepts jobs, plans them on unequal agents, and follows them to the picture.

Owns the public gRPC service. Must not import torch, and knows no model of its own.
"""

from polyrhythm import __version__

__all__ = ["__version__"]
