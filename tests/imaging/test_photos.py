"""Photographs on disk, whatever way they were saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from porter.errors import UnreadablePicture, UsageError
from porter.imaging.files import photos_in
from porter.imaging.photos import (
    Photo,
    format_of,
    pillow,
    read_image,
    strip,
    supported,
    write_image,
)

LEVELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def saved(path: Path, levels: Any, **options: Any) -> Path:
    Image.fromarray(levels).save(path, **options)
    return path


def test_an_rgb_file(tmp_path: Path) -> None:
    photo = read_image(saved(tmp_path / "a.png", LEVELS))
    np.testing.assert_array_equal(photo.pixels, LEVELS)
    assert photo.alpha is None


def test_a_grey_file_gets_three_channels(tmp_path: Path) -> None:
    photo = read_image(saved(tmp_path / "a.png", LEVELS[..., 0]))
    np.testing.assert_array_equal(photo.pixels, np.repeat(LEVELS[..., :1], 3, axis=-1))


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 65535]], np.uint16)
    photo = read_image(saved(tmp_path / "a.png", deep))
    assert photo.pixels[0, :, 0].tolist() == [0, 0, 1, 255]


def test_numbers_without_a_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePicture, match="white is not known"):
        read_image(saved(tmp_path / "a.tif", np.ones((2, 2), np.float32)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_preserved(tmp_path: Path, mode: str) -> None:
    alpha = np.linspace(0, 255, 24).astype(np.uint8).reshape(4, 6)
    picture = Image.fromarray(np.dstack([LEVELS, alpha]))
    if mode == "P":
        picture = picture.quantize()
    picture = picture.convert(mode)
    picture.save(tmp_path / "a.png")
    photo = read_image(tmp_path / "a.png")
    assert photo.alpha is not None
    write_image(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as again:
        assert again.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(again)[..., 3], photo.alpha)


def test_transparency_follows_the_size_of_the_picture(tmp_path: Path) -> None:
    photo = Photo(LEVELS, np.full((4, 6), 7, np.uint8))
    for height, width in ((2, 4), (5, 8), (8, 12)):
        write_image(tmp_path / "b.png", np.zeros((height, width, 3), np.uint8), photo)
        with Image.open(tmp_path / "b.png") as again:
            assert again.size == (width, height)
            assert set(again.getchannel("A").tobytes()) == {7}


def test_jpeg_has_no_transparency(tmp_path: Path) -> None:
    write_image(tmp_path / "b.jpg", LEVELS, Photo(LEVELS, np.zeros((4, 6), np.uint8)))
    with Image.open(tmp_path / "b.jpg") as again:
        assert again.mode == "RGB"


def test_a_photo_is_turned_by_its_exif_tag(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    turned = read_image(saved(tmp_path / "a.png", LEVELS, exif=tags))
    np.testing.assert_array_equal(turned.pixels, np.rot90(LEVELS, -1))


def test_a_photo_is_scaled_by_its_longer_side(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path / "a.png", LEVELS), 3).size == (2, 3)


def test_the_first_frame_is_taken_and_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(LEVELS), Image.fromarray(255 - LEVELS)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").notes == ("the first of 2 frames",)


def test_the_colour_profile_is_preserved(tmp_path: Path) -> None:
    photo = read_image(saved(tmp_path / "a.png", LEVELS, icc_profile=b"a profile"))
    write_image(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as again:
        assert again.info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(UnreadablePicture) as caught:
        read_image(file)
    assert caught.value.where == str(file)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.png", noise())
    file.write_bytes(file.read_bytes()[:9_000])
    with pytest.raises(UnreadablePicture, match="cannot be read"):
        read_image(file)


def noise() -> Any:
    return np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)


def test_a_picture_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path / "a.png", LEVELS)
    for limit in (20, 10):  # above the limit Pillow warns, above twice the limit it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadablePicture, match=f"more than {limit} pixels"):
            read_image(file)


def test_a_name_without_a_format_is_refused() -> None:
    with pytest.raises(UsageError, match="names no picture format"):
        format_of(Path("picture.t7"))


def test_a_strip_shows_both() -> None:
    both = strip(LEVELS, np.zeros((5, 7, 3), np.uint8))
    assert both.shape == (5, 6 + 8 + 7, 3)
    np.testing.assert_array_equal(both[:4, :6], LEVELS)
    assert (both[4, :14] == 255).all()
    assert (both[:, 14:] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_these_formats_are_read(kind: str, tmp_path: Path) -> None:
    if kind not in supported(pillow()):
        pytest.skip(f"this Pillow has no {kind}")
    Image.fromarray(LEVELS).save(tmp_path / "a", kind)
    assert read_image(tmp_path / "a").size == (4, 6)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "ICNS", "PPM", "SGI", "TGA", "JPEG2000"])
def test_every_other_format_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file is called, and without any program being started."""
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "photo.png"
    Image.fromarray(np.resize(LEVELS, (32, 32, 3))).save(path, kind)
    with pytest.raises(UnreadablePicture, match=r"and no picture|no picture in a known format"):
        read_image(path)
    if kind in ("EPS", "PDF"):
        with pytest.raises(UnreadablePicture, match=r"PostScript|a PDF document"):
            read_image(path)


def test_documents_in_a_folder_are_no_photos(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "c.pdf", "d.eps", "e.ps", "f.ppm", "g.mpg"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in photos_in(tmp_path)] == ["a.png", "b.JPG"]


def test_a_pipe_is_no_photo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UsageError, match="a pipe, not a file"):
        read_image(tmp_path / "a.png")
