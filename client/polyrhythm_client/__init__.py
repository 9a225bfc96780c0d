"""The Python SDK and the ``polyrhythm`` command.

Owns how people and programs ask for pictures. Must not import the other roles: it starts them as processes.
"""

from polyrhythm import __version__

__all__ = ["__version__"]
