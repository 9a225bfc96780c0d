"""Who is told when each block of a forward begins and ends, and the stages of a picture that are no blocks."""

from __future__ import annotations

from typing import Final, Protocol

from polyrhythm.ids import LayerId

EMBED: Final = LayerId("embed")
HEAD: Final = LayerId("head")
"""What a forward does before and after its blocks."""
SAMPLER: Final = LayerId("sampler")
ENCODE: Final = LayerId("encode")
DECODE: Final = LayerId("decode")
"""What a device computes of a picture beside forwards."""


class BlockObserver(Protocol):
    """Times blocks, or slows them down. Blocks follow one another and do not nest; the numbers in them are not seen."""

    def begin_block(self, block: LayerId) -> None:
        """Called before a block runs."""
        ...

    def end_block(self, block: LayerId) -> None:
        """Called after it."""
        ...
