"""Which files are read, and which files they become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porter.errors import EmitError, UsageError
from porter.imaging.files import pairs


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with photographs, and things that are none."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "deep/c.png", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(b"content")
    return folder


def named(folder: Path, *inputs: Path | str) -> list[tuple[str, str]]:
    """Sources and targets below `folder`."""
    planned = pairs([str(each) for each in inputs], folder)
    return [(pair.source.name, str(pair.target.relative_to(folder))) for pair in planned]


def test_a_folder_is_searched_deeply_and_keeps_its_shape(photos: Path, tmp_path: Path) -> None:
    assert named(tmp_path / "out", photos) == [
        ("a.PNG", "a.png"),
        ("b.jpg", "b.png"),
        ("c.png", "deep/c.png"),
    ]
    assert (tmp_path / "out").is_dir()


def test_patterns_and_files_go_together_once(photos: Path, tmp_path: Path) -> None:
    planned = named(tmp_path / "out", photos / "b.jpg", f"{photos}/*.[jP]*", f"{photos}/**/c.*")
    assert planned == [("b.jpg", "b.png"), ("a.PNG", "a.png"), ("c.png", "c.png")]


def test_one_photo_becomes_the_file_that_is_named(photos: Path, tmp_path: Path) -> None:
    (pair,) = pairs([str(photos / "b.jpg")], tmp_path / "new" / "x.webp", compare=True)
    assert pair.target == tmp_path / "new" / "x.webp"
    assert pair.strip == tmp_path / "new" / "x_compare.webp"


def test_two_photos_must_not_become_one_file(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").write_bytes(b"content")
    with pytest.raises(UsageError, match=r"a.PNG and .*a.jpg would both|a.jpg and .*a.PNG would"):
        pairs([str(photos)], tmp_path / "out")


def test_nothing_is_overwritten_unasked(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"there")
    with pytest.raises(UsageError, match="already exists"):
        pairs([str(photos / "b.jpg")], target)
    assert len(pairs([str(photos / "b.jpg")], target, force=True)) == 1


def test_a_photo_is_never_overwritten(photos: Path) -> None:
    with pytest.raises(UsageError, match="the photo itself"):
        pairs([str(photos / "deep" / "c.png")], photos / "deep", force=True)


@pytest.mark.parametrize("name", ["nowhere.png", "nowhere/*.png"])
def test_what_is_not_there_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        pairs([str(tmp_path / name)], tmp_path / "out")


def test_a_folder_without_photos_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no picture in"):
        pairs([str(tmp_path / "empty")], tmp_path / "out")


def test_a_folder_that_cannot_be_created_is_reported(photos: Path) -> None:
    with pytest.raises(EmitError, match="cannot be made"):
        pairs([str(photos)], photos / "b.jpg" / "out")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_reported(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(EmitError, match="cannot be written to"):
        pairs([str(photos)], tmp_path / "out")


@pytest.mark.parametrize("name", ["out.png", "out.JPG"])
def test_one_name_is_no_place_for_several_pictures(tmp_path: Path, name: str) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    for photo in photos:
        photo.touch()
    with pytest.raises(UsageError, match="names one picture, and there are 2 photos") as caught:
        pairs(map(str, photos), tmp_path / name)
    assert caught.value.hint == (
        f"name a folder, which gets a picture for each: `output={tmp_path / 'out'}`"
    )
    assert sorted(tmp_path.iterdir()) == photos
    assert len(pairs(map(str, photos), tmp_path / "run.v2")) == 2
