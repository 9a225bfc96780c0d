"""The agent: one device's daemon, its worker with the model, and its governor.

Owns exactly one device. Must not plan: what it does is in the segments that the coordinator streams.
"""

from polyrhythm import __version__

__all__ = ["__version__"]
