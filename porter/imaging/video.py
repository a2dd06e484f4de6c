"""Videos: their frames as pictures, and pictures as frames, by PyAV (FFmpeg).

Frames keep the times at which they are shown, so that videos of an uneven rate stay as they are and
sound keeps fitting. A video is written in parts of some seconds, which are joined at the end, with
the sound of another video, without being encoded once more.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import EmitError, UnreadablePicture, UsageError
from porter.imaging.photos import Photo, pillow
from porter.ir.fields import Array
from porter.system.extras import optional
from porter.system.input_files import require_file

READABLE = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts")
WRITABLE = (".mp4", ".m4v", ".mov", ".mkv")
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
"""Only these: a playlist under another name would make FFmpeg read other files, and the network."""
CODEC = "libx264"
ENCODING = {"crf": "17", "preset": "medium", "bf": "0"}
"""Quality that the eye takes for lossless. Without frames that are shown in another order than they
are stored in, packets can be given the times of the frames that they were made of."""
HD = 720
"""Rows from which players take untagged colours for BT.709's."""
MP4 = ("mp4", "mov")
STREAMED = {"movflags": "+faststart"}
"""The index in front, so that a browser plays while it loads."""
UNTAGGED, TAGGED = 2, 1
"""H.264's numbers for colours that are not told, and for BT.709's of levels 16…235."""


@dataclass(frozen=True)
class Video:
    """What is known of a video before it is decoded. `count` is FFmpeg's estimate of the frames."""

    path: Path
    rate: Fraction
    time_base: Fraction
    count: int | None
    sounds: int


def is_video(path: Path) -> bool:
    """Whether a name is a video's."""
    return path.suffix.lower() in READABLE


def format_of(path: Path) -> str:
    """FFmpeg's name of the format that a file name means. Raises UsageError."""
    if path.suffix.lower() not in WRITABLE:
        raise UsageError(
            f"{path.name} names no video format that can be written",
            hint="end the name in " + ", ".join(WRITABLE[:-1]) + f" or {WRITABLE[-1]}",
        )
    return {".mkv": "matroska", ".mov": "mov"}.get(path.suffix.lower(), "mp4")


def pyav() -> Any:
    """PyAV. Raises UsageError where it is not installed."""
    return optional("av", "av", "a video")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A video's container. Raises UnreadablePicture, also for what goes wrong while it is read."""
    av = pyav()
    require_file(path)
    allowed = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path), options=allowed) as container:
            if not container.streams.video:
                raise UnreadablePicture("there are no pictures in the video", where=str(path))
            yield container
    except av.FFmpegError as error:
        raise UnreadablePicture(
            "the video cannot be read", where=str(path), received=str(error.strerror or error)
        ) from error


def probe(path: Path) -> Video:
    """What the container says of its first video. Raises UnreadablePicture."""
    with opened(path) as container:
        stream = container.streams.video[0]
        most = pillow().Image.MAX_IMAGE_PIXELS
        if stream.width * stream.height > most:
            raise UnreadablePicture(
                f"the video's pictures have more than {most:,} pixels", where=str(path)
            )
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = stream.frames
        if not count and container.duration:
            count = math.ceil(container.duration * rate / 1_000_000)
        sounds = len(container.streams.audio)
        return Video(path, Fraction(rate), Fraction(stream.time_base), count or None, sounds)


def frames(video: Video, start: int = 0) -> Iterator[tuple[Photo, int]]:
    """The frames from number `start` on, as a player shows them, each with the time of its showing
    in units of `time_base`. Raises UnreadablePicture."""
    last = -1
    with opened(video.path) as container:
        stream = container.streams.video[0]
        size = stream.width, stream.height
        in_colours = rgb(stream)
        for number, frame in enumerate(container.decode(stream)):
            # Broken files lack times, or go back: a player shows such frames one after the other.
            last = max(last + 1, last + 1 if frame.pts is None else frame.pts)
            if number < start:
                continue
            if (frame.width, frame.height) != size:
                raise UnreadablePicture(
                    f"the size of its pictures changes at frame {number}", where=str(video.path)
                )
            in_colours.push(frame)
            pixels = in_colours.pull().to_ndarray()
            turned = np.rot90(pixels, round(frame.rotation / 90))
            yield Photo(np.ascontiguousarray(turned)), last


def rgb(stream: Any) -> Any:
    """FFmpeg's graph that turns the frames of a stream into RGB.

    Its default conversion is quick, and darkens by a level or two.
    """
    coder = stream.codec_context
    scale = "flags=bicubic+accurate_rnd+full_chroma_int"
    if coder.colorspace == UNTAGGED:
        scale += ":in_color_matrix=" + ("bt709" if stream.height >= HD else "bt601")
    graph = pyav().filter.Graph()
    last = (graph.add("scale", scale), graph.add("format", "rgb24"), graph.add("buffersink"))
    graph.link_nodes(graph.add_buffer(template=stream), *last).configure()
    return graph


def even(size: tuple[int, int]) -> tuple[int, int]:
    """The rows and columns that H.264 keeps: it has one colour for two by two pixels."""
    return size[0] // 2 * 2, size[1] // 2 * 2


def write_part(path: Path, pictures: Sequence[Array], rate: Fraction) -> None:
    """Some frames as H.264, uint8 H×W×3 of even sizes. Raises EmitError."""
    av = pyav()
    height, width = pictures[0].shape[:2]
    with encoding(), av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(CODEC, rate=rate, options=ENCODING)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        coder = stream.codec_context
        coder.colorspace = coder.color_range = coder.color_primaries = coder.color_trc = TAGGED
        for pixels in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            coded = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))


def join(
    parts: Sequence[Path], times: Sequence[int], source: Video, target: Path, kind: str
) -> None:
    """One video of the format `kind`: the parts' frames, shown at `times`, and `source`'s sound.

    Raises EmitError, also where the format cannot hold the sound.
    """
    av = pyav()
    options = STREAMED if kind in MP4 else {}
    with (
        encoding(),
        opened(source.path) as sounding,
        av.open(str(parts[0])) as first,
        av.open(str(target), "w", format=kind, options=options) as container,
    ):
        shown = container.add_stream_from_template(first.streams.video[0])
        shown.time_base = source.time_base
        sounds = {
            stream.index: container.add_stream_from_template(stream)
            for stream in sounding.streams.audio
        }
        streams = [pictures_of(parts, times, source.time_base, shown)]
        if sounds:
            streams.append(sounds_of(sounding, sounds))
        for _, packet in heapq.merge(*streams, key=lambda each: each[0]):
            container.mux(packet)


def pictures_of(
    parts: Iterable[Path], times: Sequence[int], time_base: Fraction, stream: Any
) -> Iterator[tuple[Fraction, Any]]:
    """Packets of the parts one after the other, each with its time in seconds."""
    av, place = pyav(), 0
    for part in parts:
        with av.open(str(part)) as container:
            for packet in container.demux(video=0):
                if packet.size == 0:  # FFmpeg's mark of the end
                    continue
                packet.time_base = time_base
                packet.pts = packet.dts = times[place]
                packet.stream = stream
                yield times[place] * time_base, packet
                place += 1


def sounds_of(container: Any, streams: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    """Packets of sound as they are, each with its time in seconds."""
    for packet in container.demux(*(container.streams[index] for index in streams)):
        if packet.dts is None:
            continue
        time = packet.dts * packet.time_base
        packet.stream = streams[packet.stream.index]
        yield time, packet


@contextmanager
def encoding() -> Iterator[None]:
    """FFmpeg's errors as EmitError; those of the disk stay what they are."""
    av = pyav()
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise EmitError(
            f"the video cannot be encoded: {error}",
            hint="the Matroska format takes every kind of sound: end the name in .mkv",
        ) from error
