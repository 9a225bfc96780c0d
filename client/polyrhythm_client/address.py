"""Where a coordinator listens if nothing else is said."""

from __future__ import annotations

DEFAULT_ADDRESS = "127.0.0.1:50051"
