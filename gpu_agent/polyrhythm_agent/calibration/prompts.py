"""What a calibration paints: plain objects that most text-to-image models know, the demo model included."""

from __future__ import annotations

from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.named_file import read_named_text

PROMPTS = (
    "red apple on a yellow background",
    "owl on a green background",
    "guitar on a blue background",
    "rabbit face on a brown background",
    "sunflower on a teal background",
    "key on a white background",
    "octopus on a red background",
    "umbrella on a pink background",
    "bicycle on an orange background",
    "penguin on a purple background",
    "mushroom on a grey background",
    "rocket on a black background",
    "cactus on a yellow background",
    "elephant on a green background",
    "teacup without handle on a blue background",
    "fox face on a brown background",
    "pineapple on a teal background",
    "camera on a white background",
    "turtle on a red background",
    "house building on a pink background",
    "violin on an orange background",
    "tulip on a purple background",
    "hamburger on a grey background",
    "crescent moon on a black background",
    "watermelon on an orange background",
    "cat face on a purple background",
    "helicopter on a grey background",
    "rose on a black background",
    "ship on a yellow background",
    "rainbow on a green background",
    "hot dog on a blue background",
    "tiger on a brown background",
    "trumpet on a teal background",
    "snail on a white background",
    "teddy bear on a red background",
    "pear on a pink background",
    "bus on an orange background",
    "whale on a purple background",
    "cookie on a grey background",
    "candle on a black background",
    "cow face on a yellow background",
    "shield on a green background",
    "parrot on a blue background",
    "balloon on a brown background",
    "onion on a teal background",
    "fire engine on a white background",
    "panda face on a red background",
    "compass on a pink background",
    "crab on an orange background",
    "birthday cake on a purple background",
    "hammer on a grey background",
    "duck on a black background",
    "top hat on a yellow background",
    "cherries on a green background",
    "motor scooter on a blue background",
    "swan on a brown background",
    "axe on a teal background",
    "avocado on a white background",
    "giraffe face on a red background",
    "microscope on a pink background",
    "volcano on an orange background",
    "scarf on a purple background",
    "lizard on a grey background",
    "bell on a black background",
)


def read_prompts(file: Path | None) -> tuple[str, ...]:
    """The prompts of a file, one a line, or the ones above.

    Raises:
        InvalidArgumentError: the file cannot be read or holds none.
    """
    if file is None:
        return PROMPTS
    lines = read_named_text(file, "--prompts").splitlines()
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise InvalidArgumentError.of("--prompts", f"{file} holds no prompt")
    return prompts
