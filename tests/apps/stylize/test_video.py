"""Videos: every frame through the net, at its time, with the sound; resumed after a kill."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.stylize import video as job
from porter.cli import main as cli
from porter.imaging import video
from porter.torch7.build import convolution, sequential
from tests.write_t7 import write_t7

av = pytest.importorskip("av")

SIZE = (32, 48)
TIMES = [0, 40, 80, 160, 200, 240, 280, 320, 400, 440, 480, 520]
"""Milliseconds, of an uneven rate."""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """The photo itself: weights of one at the middle."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[np.arange(3), np.arange(3), 1, 1] = 1
    return write_t7(tmp_path / "net.t7", sequential(convolution(weight, pad=(1, 1))))


def picture(number: int) -> Any:
    """A colour for each frame, and a brighter half."""
    image = np.full((*SIZE, 3), (20 * number, 200 - 10 * number, 90), np.uint8)
    image[: SIZE[0] // 2] += 20
    return image


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Twelve frames and as much sound."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        shown = container.add_stream("libx264", rate=25, options={"crf": "5"})
        shown.height, shown.width = SIZE
        shown.pix_fmt = "yuv420p"
        shown.codec_context.time_base = shown.time_base = Fraction(1, 1000)
        heard = container.add_stream("aac", rate=44100)
        for number, time in enumerate(TIMES):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(shown.encode(frame))
        container.mux(shown.encode(None))
        for start in range(0, 24 * 1024, 1024):
            tone = np.sin(np.arange(start, start + 1024) / 20, dtype=np.float32)[None]
            sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 44100, start
            container.mux(heard.encode(sound))
        container.mux(heard.encode(None))
    return path


def stylize(net: Path, film: Path, out: Path, *more: str) -> int:
    arguments = ["stylize", net, film, "-o", out, "--preset", "plain", *more]
    return cli.main(list(map(str, arguments)))


def shown(path: Path) -> list[tuple[Fraction, Any]]:
    """Seconds and pictures."""
    source = video.probe(path)
    return [(time * source.time_base, photo.pixels) for photo, time in video.frames(source)]


def heard(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_frames_keep_their_times_and_the_sound_its_bytes(
    net: Path, film: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PART", 5)
    out = tmp_path / f"out.{ending}"
    assert stylize(net, film, out) == 0
    frames = shown(out)
    # Matroska has no times below zero, where the sound of an AAC encoder begins: all is later.
    start = frames[0][0]
    assert [round(float(time - start) * 1000) for time, _ in frames] == TIMES
    for number, (_, pixels) in enumerate(frames):
        assert abs(pixels.astype(int) - picture(number)).mean() < 2
    assert heard(out) == heard(film)
    assert not out.with_name(out.name + ".parts").exists()


def test_a_video_that_was_stopped_goes_on(
    net: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "PART", 5)
    write = video.write_part

    def stopped(path: Path, images: list[Any], rate: Fraction) -> None:
        if len(list(path.parent.parent.glob("*.json"))) == 3:  # video.json, and two parts
            raise KeyboardInterrupt
        write(path, images, rate)

    monkeypatch.setattr(video, "write_part", stopped)
    out = tmp_path / "out.mp4"
    assert stylize(net, film, out) == 130
    assert not out.exists()
    monkeypatch.setattr(video, "write_part", write)
    capsys.readouterr()
    assert stylize(net, film, out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2
    assert len(shown(out)) == len(TIMES)


def test_parts_of_another_size_are_thrown_away(
    net: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "out.mp4.parts"
    parts.mkdir()
    (parts / "video.json").write_text("{}")
    (parts / "000000.json").write_text('{"times": [0], "size": [2, 2]}')
    assert stylize(net, film, tmp_path / "out.mp4", "--image-size", "24", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["pictures"]
    assert entry["output_size"] == {"height": 16, "width": 24}


def test_a_folder_of_others_is_left_alone(net: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.parts").mkdir()
    (tmp_path / "out.mp4.parts" / "letter").write_text("dear")
    assert stylize(net, film, tmp_path / "out.mp4") == 2
    assert (tmp_path / "out.mp4.parts" / "letter").read_text() == "dear"


def test_a_phone_held_upright(film: Path, tmp_path: Path) -> None:
    """The matrix of the track, not the pixels, says how a video is rotated."""
    content = bytearray(film.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 20 + 16
    assert struct.unpack_from(">i", content, place)[0] == 1 << 16
    struct.pack_into(">9i", content, place, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    (tmp_path / "upright.mp4").write_bytes(content)
    photo, _ = next(video.frames(video.probe(tmp_path / "upright.mp4")))
    assert photo.size == SIZE[::-1]
    # Rotated by 90° clockwise, the upper half is at the right.
    assert photo.pixels[:, -4:].mean() > photo.pixels[:, :4].mean() + 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("film.mp4", "film.mp4", "-o", "out.mp4"), "a video is run alone"),
        (("film.mp4", "-o", "out.png"), "names no video format"),
        (("film.mp4", "-o", "film.mp4", "--force"), "is the video itself"),
        (("film.mp4", "-o", "out.mp4", "--compare"), "are for pictures"),
        (("none.mp4", "-o", "out.mp4"), "there is no file or folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    net: Path,
    film: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(film.parent)
    assert cli.main(["stylize", str(net), *arguments, "--preset", "plain"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"no video", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret.ts\n", b""]
)
def test_what_is_no_video_is_one_line(
    net: Path, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    assert stylize(net, tmp_path / "bad.mp4", tmp_path / "out.mp4") == 3
    error = capsys.readouterr().err
    assert "the video cannot be read" in error
    assert "bad.mp4" in error
    assert [each.name for each in tmp_path.iterdir() if "out" in each.name] == []
