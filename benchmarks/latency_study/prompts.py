"""The listed prompts of the quality comparison, each with its seed. Fixed: nothing here follows from a result.

Every eighth name that the demo model knows, background colours in turn.
"""

from __future__ import annotations

FIRST_SEED = 20_000
"""Of the first prompt; the others count up. Far from the seeds that the model's own evaluation uses."""

PROMPTS = (
    "glowing star on a red background",
    "palm tree on a blue background",
    "ear of maize on a grey background",
    "lemon on a green background",
    "strawberry on a brown background",
    "french fries on an orange background",
    "lollipop on a purple background",
    "wrapped present on a black background",
    "ferris wheel on a teal background",
    "guitar on a white background",
    "rat on a yellow background",
    "horse on a pink background",
    "honeybee on a red background",
    "dromedary camel on a blue background",
    "dog face on a grey background",
    "crown on a green background",
    "high-heeled shoe on a brown background",
    "bouquet on an orange background",
    "briefcase on a purple background",
    "key on a black background",
    "crystal ball on a teal background",
    "steam locomotive on a white background",
    "door on a yellow background",
    "robot face on a pink background",
    "glass of milk on a red background",
    "lion face on a blue background",
    "butterfly on a grey background",
    "peacock on a green background",
    "cheese wedge on a brown background",
    "socks on an orange background",
    "basket on a purple background",
    "potted plant on a black background",
)


def prompt(index: int) -> tuple[str, int]:
    """Text and seed of a listed prompt; indices beyond the list begin it anew with other seeds."""
    return PROMPTS[index % len(PROMPTS)], FIRST_SEED + index
