"""A video through a net, frame by frame.

What is done stands in `OUTPUT.parts`, some seconds of video a file, which is there until the video
is whole. The same command, started again after a kill, goes on behind the last part.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.apps.stylize.runners import Net
from porter.apps.stylize.shards import fingerprint
from porter.apps.stylize.stylize import (
    BATCH_PIXELS,
    Stylization,
    StylizeResult,
    StylizeSettings,
    adjustments,
    at_once,
    pictures,
)
from porter.errors import UnreadablePicture, UsageError
from porter.imaging import video
from porter.imaging.image_spec import ImageSpec
from porter.imaging.photos import Photo, scaled
from porter.ir.fields import Array
from porter.system.atomic import appearing_file, require_file_target, write_text
from porter.system.disk import Lock

PART = 100
"""Frames of a part: a few seconds of video, and what a kill loses at most."""

Progress = Callable[[int, int | None], None]
"""Called with the number of frames that are done, and about how many there are."""


@dataclass(frozen=True)
class VideoJob:
    """One video, what becomes of it, and the pixels of a frame's longer side."""

    source: Path
    target: Path
    longest: int | None = None

    @property
    def exists(self) -> bool:
        return self.target.exists()


def video_job(
    inputs: Iterable[str], output: Path, sizes: Iterable[int] = (), force: bool = False
) -> VideoJob | None:
    """The video that is to be run; None where the inputs are pictures.

    Raises UsageError for a video among others, and for an output that is in the way.
    """
    names, several = list(inputs), list(sizes)
    if not any(video.is_video(Path(name)) for name in names):
        return None
    if len(names) > 1 or len(several) > 1:
        raise UsageError("a video is run alone, at one size", hint="run the command once for each")
    source = Path(names[0])
    if not source.exists():
        raise UsageError(f"there is no file or folder '{source}'")
    video.pyav()
    target = output / source.with_suffix(".mp4").name if output.is_dir() else output
    video.format_of(target)
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the video itself", hint="choose another `output=`")
    require_file_target(target, force)
    return VideoJob(source, target, several[0] if several else None)


def stylize_video(
    net: Net,
    spec: ImageSpec,
    files: Sequence[Path],
    job: VideoJob,
    settings: StylizeSettings,
    progress: Progress = lambda done, count: None,
) -> Stylization:
    """Run every frame, and write the video with its sound. `files` are those of the net.

    Raises UnreadablePicture for a file that is no video, OutOfMemory for frames that do not fit,
    EmitError where it cannot be written, UsageError where another run is at work on it.
    """
    start = time.perf_counter()
    if settings.skip_existing and job.exists:
        return Stylization(spec, (StylizeResult(job.source, job.target, skipped=True),), 0.0)
    source = video.probe(job.source)
    identity = {
        "source": [str(job.source.resolve()), *fingerprint(job.source)],
        "net": [[str(file.resolve()), *fingerprint(file)] for file in files],
        "preset": spec.json(),
        "longest": job.longest,
        "crop": settings.crop,
    }
    most = at_once(net, spec, settings, PART)
    with parts_of(job.target, identity) as parts:
        before = parts.count
        for frames in chunks(video.frames(source, parts.count), PART):
            progress(parts.count, source.count)
            photos = [scaled(photo, job.longest) for photo, _ in frames]
            images: list[Array] = []
            for batch in split(photos, most):
                images += pictures(net, spec, batch, settings, most)
                progress(parts.count + len(images), source.count)
            rows, columns = video.even(images[0].shape[:2])
            parts.add(
                [picture[:rows, :columns] for picture in images],
                [shown for _, shown in frames],
                source,
            )
        if not parts.count:
            raise UnreadablePicture("there are no pictures in the video", where=str(job.source))
        first = next(video.frames(source))[0]
        with appearing_file(job.target) as new:
            video.join(parts.files, parts.times, source, new, video.format_of(job.target))
        notes = tuple(adjustments(scaled(first, job.longest), spec))
    sound = f", with {source.sounds} track{'' if source.sounds == 1 else 's'} of sound"
    said = f"{parts.count} frames{sound if source.sounds else ', without sound'}"
    result = StylizeResult(job.source, job.target, first.size, parts.size, (said, *notes))
    seconds = time.perf_counter() - start
    return Stylization(spec, (result,), seconds, frames=parts.count - before)


def chunks(items: Iterable[Any], count: int) -> Iterator[list[Any]]:
    """Lists of `count` items each, the last one of what is left."""
    rest = iter(items)
    while chunk := list(itertools.islice(rest, count)):
        yield chunk


def split(photos: list[Photo], most: int) -> Iterator[list[Photo]]:
    """Frames that run at once: as many as are allowed and as fit."""
    height, width = photos[0].size
    return chunks(photos, max(1, min(most, BATCH_PIXELS // (height * width))))


@dataclass
class Parts:
    """What is done of a video, in a folder: a file for each part, with the times of its frames."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    size: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        """How many frames are done."""
        return len(self.times)

    def find(self) -> None:
        """Take up the parts that a run before has finished: those whose times were written too."""
        while (times := self.named(len(self.files), ".json")).is_file():
            body = json.loads(times.read_text(encoding="utf-8"))
            self.keep(body["times"], tuple(body["size"]))

    def add(self, images: list[Array], times: list[int], source: video.Video) -> None:
        """Write the next part. Raises EmitError."""
        number = len(self.files)
        with appearing_file(self.named(number, ".mkv")) as new:
            video.write_part(new, images, source.rate)
        height, width = images[0].shape[:2]
        body = {"times": times, "size": [height, width]}
        write_text(self.named(number, ".json"), json.dumps(body))
        self.keep(times, (height, width))

    def keep(self, times: list[int], size: tuple[int, ...]) -> None:
        self.files.append(self.named(len(self.files), ".mkv"))
        self.times += times
        self.size = size[0], size[1]

    def named(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}{suffix}"


@contextmanager
def parts_of(target: Path, identity: dict[str, Any]) -> Iterator[Parts]:
    """The parts of a video, for this process alone; removed when the block succeeds.

    Parts of another video, net or size are thrown away. Raises UsageError where another run is at
    work on them, or where a folder of that name is not porter's.
    """
    folder = target.with_name(f"{target.name}.parts")
    lock = Lock(folder.with_name(folder.name + ".lock"))
    if not lock.acquire():
        raise UsageError(
            f"another run is making {target}", hint="wait for it, or choose another `output=`"
        )
    try:
        record = folder / "video.json"
        if folder.exists() and not record.is_file() and any(folder.iterdir()):
            raise UsageError(f"{folder} is in the way", hint="choose another `output=`")
        # As JSON has it: tuples become lists.
        body = json.loads(json.dumps(identity))
        if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != body:
            shutil.rmtree(folder)
        if not record.is_file():
            folder.mkdir(exist_ok=True)
            write_text(record, json.dumps(body))
        parts = Parts(folder)
        parts.find()
        yield parts
        shutil.rmtree(folder)
    finally:
        lock.release()
