"""Finished pictures, and how they are put together from a job's events. Knows no network."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from polyrhythm.errors import PolyrhythmError, WireError
from polyrhythm.job.events import (
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImageReplanned,
    JobAccepted,
    JobEvent,
    ReplanReason,
)
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.reports import JobReport
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.gang_plan import steps_taken
from polyrhythm.process.roles import how_to_install
from polyrhythm_client.recipes.png import PngError, add_texts
from polyrhythm_client.recipes.recipe import Recipe, recipe_of, recipe_texts
from polyrhythm_client.whole_file import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image


class PillowMissingError(PolyrhythmError, ImportError):
    """Pixels were asked for, and Pillow is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Picture:
    """A finished picture.

    Example::

        picture = client.picture(ImageRequest(prompt="red apple on a blue background"))
        picture.save("apple.png")
        picture.image().rotate(90).show()
        again = client.picture(picture.recipe.request)  # the same bytes on the same kind of devices

    Attributes:
        png: the file; it carries its recipe, so that ``polyrhythm generate --plan FILE`` makes the picture again.
        spec: what was asked for, defaults filled in.
        report: what was done: times, plans, devices.
        explanation: why the first plan was chosen; None if the coordinator announced none.
        replans: how many newer plans it followed, by reason.
    """

    png: bytes
    spec: ImageSpec
    report: JobReport
    explanation: Explanation | None = None
    replans: Mapping[ReplanReason, int] = field(default_factory=dict[ReplanReason, int])

    @property
    def recipe(self) -> Recipe:
        """All that decides the picture; its request makes the picture again."""
        return recipe_of(self.spec, self.report)

    @property
    def making_s(self) -> float:
        """Seconds that it took to encode, denoise and decode, without the wait in the queue."""
        return self.report.encode_s + self.report.denoise_s + self.report.decode_s

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the PNG file in one move: a reader sees the old file or the whole new one.

        Example::

            picture.save("apple.png")

        Raises:
            OSError: it cannot be written.
        """
        write_whole(Path(path), self.png)

    def image(self) -> Image:
        """The pixels, as an image of Pillow.

        Example::

            picture.image().resize((64, 64)).save("small.jpg")

        Raises:
            PillowMissingError: Pillow is not installed.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise PillowMissingError(f"picture.image() needs Pillow: {how_to_install('pictures')}") from error
        image = Image.open(io.BytesIO(self.png))
        image.load()
        return image

    def __repr__(self) -> str:
        size, taken = f"{self.spec.width_px}x{self.spec.height_px}", steps_taken(self.report.plans)
        makers = "1 device" if len(self.report.agents) == 1 else f"{len(self.report.agents)} devices"
        made = f"seed {self.report.seed}, {self.making_s:.2f} s on {makers}"
        return f"<Picture {size}, {taken}, {made}, {len(self.png)} bytes>"


class PictureAssembler:
    """Collects the chunks of each picture of a job until its account arrives, and writes its recipe into the file."""

    def __init__(self) -> None:
        self._spec: ImageSpec | None = None
        self._files: dict[int, bytearray] = {}
        self._complete: set[int] = set()
        self._explanations: dict[int, Explanation] = {}
        self._replans: dict[int, Counter[ReplanReason]] = {}

    def take(self, event: JobEvent) -> Picture | None:
        """Takes the next event of the job.

        Returns:
            A picture, if this event completed one.

        Raises:
            WireError: chunks do not follow one another, a picture is called complete without its last one or before its
                job was accepted, or what was sent is no picture.
        """
        match event:
            case JobAccepted(image=spec):
                self._spec = spec
            case ImagePlanned(image_index=index, explanation=explanation):
                self._explanations.setdefault(index, explanation)
            case ImageReplanned(image_index=index, reason=reason):
                self._replans.setdefault(index, Counter())[reason] += 1
            case ImageChunk():
                self._append(event)
            case ImageCompleted(report=report):
                return self._finish(report)
            case _:
                pass
        return None

    def _append(self, chunk: ImageChunk) -> None:
        if chunk.offset == 0:
            # The first chunk, or the first after the decoding agent was lost and another one began anew.
            self._files[chunk.image_index] = bytearray()
            self._complete.discard(chunk.image_index)
        png = self._files.get(chunk.image_index, bytearray())
        if chunk.offset != len(png):
            raise WireError(f"image_chunk.offset: expected {len(png)}, got {chunk.offset}")
        png += chunk.data
        if chunk.last:
            self._complete.add(chunk.image_index)

    def _finish(self, report: JobReport) -> Picture:
        index = report.image_index
        if index not in self._complete:
            raise WireError(f"image_completed: picture {index} is called complete without its last chunk")
        if self._spec is None:
            raise WireError(f"image_completed: picture {index} is called complete before its job was accepted")
        spec = self._spec.with_seed(report.seed)
        try:
            png = add_texts(bytes(self._files.pop(index)), recipe_texts(recipe_of(spec, report)))
        except PngError as error:
            raise WireError(f"image_chunk: what the fleet made is no picture: {error}") from error
        return Picture(
            png=png,
            spec=spec,
            report=report,
            explanation=self._explanations.pop(index, None),
            replans=dict(self._replans.pop(index, {})),
        )
