"""`porter stylize`: photographs through a net, and its pictures to disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from porter.apps.stylize.memory import Call, require_room
from porter.apps.stylize.runners import Net, mixes
from porter.errors import PorterError, UsageError
from porter.imaging.files import Pair
from porter.imaging.image_spec import ImageSpec
from porter.imaging.photos import Photo, read_image, resized, strip, write_image
from porter.imaging.pixels import Array, padding, to_images, to_net

if TYPE_CHECKING:
    from pathlib import Path

BATCH_PIXELS = 4_000_000
"""A batch holds no more pixels than this; the nets keep some hundred numbers for each."""
SMALL = 64
"""Size of the pictures on which it is seen whether a batch mixes."""

Read = tuple[Pair, Photo]


@dataclass(frozen=True)
class StylizeResult:
    """What became of one photo; `error` where nothing did; `skipped` where its picture was there.

    Sizes are height and width.
    """

    source: Path
    target: Path
    size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: PorterError | None = None
    skipped: bool = False

    def json(self, spell: Callable[[str], str] = str) -> dict[str, object]:
        body: dict[str, Any] = {"input": str(self.source)}
        if self.error is not None:
            return body | {"error": spell(str(self.error)), "exit_code": self.error.exit_code}
        if self.skipped:
            return body | {"output": str(self.target), "skipped": True}
        return body | {
            "output": str(self.target),
            "input_size": size_json(self.size),
            "output_size": size_json(self.output_size),
            "notes": list(self.notes),
        }


def size_json(size: tuple[int, int] | None) -> dict[str, int]:
    """Height and width by name, since half of the world writes them the other way round."""
    return dict(zip(("height", "width"), size or (), strict=False))


@dataclass(frozen=True)
class Stylization:
    """What a run did; of a video with how many frames."""

    image_spec: ImageSpec | None
    """None where a run by Ray had nothing left to do, and opened no net."""
    results: tuple[StylizeResult, ...]
    seconds: float
    frames: int | None = None

    @property
    def failed(self) -> list[StylizeResult]:
        return [result for result in self.results if result.error is not None]

    @property
    def skipped(self) -> int:
        """How many photos had their pictures before."""
        return sum(result.skipped for result in self.results)

    @property
    def written(self) -> int:
        """How many photos became pictures."""
        return len(self.results) - len(self.failed) - self.skipped

    @property
    def exit_code(self) -> int:
        """That of the first photo of which nothing became."""
        errors = [result.error for result in self.results if result.error is not None]
        return errors[0].exit_code if errors else 0

    @property
    def rate(self) -> float:
        """Pictures, or frames, a second, with reading and writing."""
        return (self.written if self.frames is None else self.frames) / max(self.seconds, 1e-9)

    def summary(self) -> str:
        """One line, and one with a warning."""
        lost = f", {len(self.failed)} failed" if self.failed else ""
        lost += f", {self.skipped} skipped: the result exists" if self.skipped else ""
        count, what = (self.written, "picture") if self.frames is None else (self.frames, "frame")
        spec = self.image_spec
        warning = f"\nwarning: {spec.warning}" if spec and spec.warning else ""
        preset = f"; preset {spec.preset.name} ({spec.why})" if spec else ""
        return (
            f"{count} {what}{'' if count == 1 else 's'} in {self.seconds:.1f} s "
            f"({self.rate:.2f} a second){lost}{preset}{warning}"
        )

    def json(self, spell: Callable[[str], str] = str) -> dict[str, object]:
        """`spell` turns keyword arguments in errors into options of the command line."""
        return {
            "preset": self.image_spec and self.image_spec.preset.name,
            "why": self.image_spec and self.image_spec.why,
            "warning": self.image_spec and self.image_spec.warning,
            "pictures": [result.json(spell) for result in self.results],
            "frames": self.frames,
            "seconds": self.seconds,
            "pictures_per_second": self.rate,
            "failed": len(self.failed),
            "skipped": self.skipped,
        }


@dataclass(frozen=True)
class StylizeSettings:
    """`crop` cuts pictures that the net made larger than the photo; `batch` is the most at once;
    `skip_existing` leaves out photos whose pictures are there."""

    crop: bool = False
    batch: int = 8
    skip_existing: bool = False

    def require_sensible(self, sizes: Iterable[int] = ()) -> None:
        """Raise UsageError for a batch, or for pixels of the longer side, that are none."""
        for name, value in (("`batch=`", self.batch), *(("`image_size=`", n) for n in sizes)):
            if value < 1:
                raise UsageError(f"{name} is a positive number", received=str(value))


def stylize(
    net: Net,
    spec: ImageSpec,
    pairs: list[Pair],
    settings: StylizeSettings,
    on_result: Callable[[StylizeResult], None] = lambda result: None,
) -> Stylization:
    """Run all photos. One that cannot be read or run is reported, and the others go on."""
    results: list[StylizeResult] = []

    def keep(result: StylizeResult) -> None:
        results.append(result)
        on_result(result)

    waiting: list[Pair] = []
    for pair in pairs:
        if settings.skip_existing and pair.exists:
            keep(StylizeResult(pair.source, pair.target, skipped=True))
        else:
            waiting.append(pair)
    most = at_once(net, spec, settings, len(waiting))
    start = time.perf_counter()
    for batch in batches(read_all(waiting, keep), most):
        for result in run_batch(net, spec, batch, settings, most):
            keep(result)
    seconds = time.perf_counter() - start
    places = {pair.target: place for place, pair in enumerate(pairs)}
    results.sort(key=lambda result: places[result.target])
    return Stylization(spec, tuple(results), seconds)


def at_once(net: Net, spec: ImageSpec, settings: StylizeSettings, count: int) -> int:
    """How many of `count` pictures run together."""
    if min(count, settings.batch) < 2 or net.batch is not None or mixes_batch(net, spec):
        return net.batch or 1
    return settings.batch


def mixes_batch(net: Net, spec: ImageSpec) -> bool:
    """Whether pictures of a batch see each other: then each is run alone."""
    multiple = spec.geometry.multiple
    return mixes(net, spec.preset.input.planes, -(-SMALL // multiple) * multiple)


def read_all(pairs: Iterable[Pair], failed: Callable[[StylizeResult], None]) -> Iterator[Read]:
    """Photos one after the other; those that cannot be read go to `failed`."""
    for pair in pairs:
        try:
            photo = read_image(pair.source, pair.longest)
        except PorterError as error:
            failed(StylizeResult(pair.source, pair.target, error=error))
        else:
            yield pair, photo


def batches(photos: Iterable[Read], most: int) -> Iterator[list[Read]]:
    """Neighbours of one size together, as many as are allowed and as fit."""
    waiting: list[Read] = []
    for pair, photo in photos:
        fits = max(1, min(most, BATCH_PIXELS // (photo.size[0] * photo.size[1])))
        if waiting and (waiting[0][1].size != photo.size or len(waiting) >= fits):
            yield waiting
            waiting = []
        waiting.append((pair, photo))
    if waiting:
        yield waiting


def run_batch(
    net: Net, spec: ImageSpec, batch: list[Read], settings: StylizeSettings, batch_size: int
) -> Iterator[StylizeResult]:
    """Run photos of one size and write their pictures. Raises EmitError where that fails."""
    try:
        images = pictures(net, spec, [photo for _, photo in batch], settings, batch_size)
    except UsageError:
        raise
    except PorterError as error:
        for pair, _ in batch:
            yield StylizeResult(pair.source, pair.target, error=error)
        return
    for (pair, original), image in zip(batch, images, strict=True):
        photo = fitted(original, spec)
        write_image(pair.target, image, photo)
        if pair.strip is not None:
            write_image(pair.strip, strip(photo.pixels, image), Photo(photo.pixels))
        notes = (*original.notes, *adjustments(original, spec))
        yield StylizeResult(pair.source, pair.target, original.size, image.shape[:2], notes)


def pictures(
    net: Net, spec: ImageSpec, photos: list[Photo], settings: StylizeSettings, batch_size: int
) -> list[Array]:
    """What the net makes of photos of one size: uint8 H×W×3 each.

    Raises OutOfMemory for photos that do not fit, ShapeMismatch for a size that the net refuses.
    """
    photos = [fitted(photo, spec) for photo in photos]
    height, width = (extent + sum(padding(extent, spec)) for extent in photos[0].size)
    call = require_room(net, height, width, len(photos))
    images = run(net, spec, np.stack([photo.pixels for photo in photos]), batch_size, call)
    if settings.crop:
        return [image[: photos[0].size[0], : photos[0].size[1]] for image in images]
    return list(images)


def run(
    net: Net, spec: ImageSpec, images: Array, batch_size: int, call: Call | None = None
) -> Array:
    """8-bit pictures through the net, or through `call` in its place; a net with a fixed batch gets
    the last one repeated.

    Raises UsageError where the net makes no pictures of the preset's kind.
    """
    count, side = len(images), spec.preset.output
    assert side is not None
    if net.batch is not None and count < batch_size:
        images = np.concatenate([images, np.repeat(images[-1:], batch_size - count, axis=0)])
    output = (call or net)(to_net(images, spec))
    if not spec.geometry.flat and (output.ndim != 4 or output.shape[-1] != side.planes):
        raise UsageError(
            f"the preset {spec.preset.name} is for nets that make N×H×W×{side.planes}",
            received="a net that makes " + "×".join(map(str, output.shape)),
        )
    return to_images(output, images, spec)[:count]


def fitted(photo: Photo, spec: ImageSpec) -> Photo:
    """Scaled, where the net takes one size only."""
    size = spec.geometry.size
    return photo if size in (None, photo.size) else resized(photo, *size)


def adjustments(photo: Photo, spec: ImageSpec) -> Iterator[str]:
    """What was done to a photo before the net saw it."""
    geometry, size = spec.geometry, spec.geometry.size
    if size is not None and size != photo.size:
        yield f"scaled to {size[0]}×{size[1]}, the only size that the net takes"
    padded = [n + sum(padding(n, spec)) for n in photo.size]
    if geometry.multiple > 1 and tuple(padded) != photo.size:
        yield (
            f"its edge repeated up to {padded[0]}×{padded[1]}, since the net takes multiples of "
            f"{geometry.multiple}, and cut again"
        )
