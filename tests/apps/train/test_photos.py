"""Samples: a function of seed and number, shared out evenly, whatever lies in the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.apps.train.photos import PhotoFolder, photo_files
from porter.apps.train.pipeline import Share, samples
from porter.errors import UsageError
from tests.apps.train.conftest import SIZE, picture


def test_a_sample_depends_on_seed_and_number_only(photos: Path) -> None:
    files = photo_files(photos)
    one, other = PhotoFolder(files, SIZE, 5), PhotoFolder(files, SIZE, 5)
    other.crop(3)
    assert np.array_equal(one.crop(7), other.crop(7))
    assert not np.array_equal(one.crop(7), one.crop(8))
    assert not np.array_equal(one.crop(7), PhotoFolder(files, SIZE, 6).crop(7))


def test_crops_are_places_of_the_photos(photos: Path) -> None:
    file = photo_files(photos)[0]
    found = PhotoFolder([file], SIZE, 0)
    whole = found.pixels(file)
    assert whole is not None
    windows = np.lib.stride_tricks.sliding_window_view(whole, (SIZE, SIZE, 3))[:, :, 0]
    places = set()
    for number in range(60):
        hits = np.argwhere((windows == found.crop(number)).all(axis=(2, 3, 4)))
        assert len(hits) == 1
        places.add(tuple(hits[0]))
    assert len(places) > 30
    assert {0, whole.shape[0] - SIZE} <= {top for top, _ in places}


def test_train_and_val_are_told_apart_at_any_depth(photos: Path) -> None:
    assert [file.name for file in photo_files(photos)] == ["0.png", "1.png", "2.png", "3.png"]
    assert [file.name for file in photo_files(photos, "val")] == ["v.png"]
    assert len(photo_files(photos / "train" / "dummy")) == 4


def test_what_cannot_be_used_is_skipped_and_reported(tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png", 40, 40, 1)
    picture(tmp_path / "small.png", 40, SIZE - 1, 2)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    found = PhotoFolder(photo_files(tmp_path), SIZE, 0)
    for number in range(20):
        assert found.crop(number).shape == (SIZE, SIZE, 3)
    assert {path.name for path in found.skipped} == {"small.png", "torn.jpg"}
    assert good not in found.skipped


def test_a_folder_without_usable_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        photo_files(tmp_path / "none")
    with pytest.raises(UsageError, match="no image"):
        photo_files(tmp_path)
    picture(tmp_path / "small.png", 8, 8, 2)
    with pytest.raises(UsageError, match="none of the 1 images") as caught:
        PhotoFolder(photo_files(tmp_path), SIZE, 0).crop(0)
    assert "smaller than the crop of 32×32" in str(caught.value)


def test_shares_together_are_the_whole_batch(photos: Path) -> None:
    found = PhotoFolder(photo_files(photos), SIZE, 3)

    def batches(share: Share) -> list[np.ndarray]:
        batches = samples(found, SIZE, 4, share, range(5, 8), threads=2)
        return [each.numpy() for each in batches]

    whole = batches(Share())
    first, second = batches(Share(2, 1, 0)), batches(Share(2, 1, 1))
    on_one_machine = batches(Share(2, 2, 0))
    assert len(whole) == 3
    for number, batch in enumerate(whole):
        assert np.array_equal(batch, np.concatenate([first[number], second[number]]))
        both = np.concatenate(on_one_machine[2 * number : 2 * number + 2])
        assert np.array_equal(batch, both)
        assert np.array_equal(batch[1], found.crop((5 + number) * 4 + 1))


def test_decoded_photos_are_held_as_long_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [picture(tmp_path / f"{number}.png", 40, 40, number) for number in range(2)]
    one = 40 * 40 * 3
    monkeypatch.setattr("porter.apps.train.photos.MAX_BYTES", one + one // 2)
    crops = PhotoFolder(files, SIZE, seed=0)
    first = [crops.crop(number) for number in range(8)]
    assert [each.nbytes for each in crops.kept.values()] == [one]
    for file in crops.kept:
        file.unlink()
    for number, crop in enumerate(first):
        np.testing.assert_array_equal(crops.crop(number), crop)
