"""Presets, built in and in TOML files."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import UsageError
from porter.imaging.presets import BUILT_IN, PixelEncoding, Preset, find, parse_preset, read_preset


@pytest.mark.parametrize("preset", BUILT_IN.values(), ids=str)
def test_a_preset_survives_the_manifest(preset: Preset) -> None:
    assert parse_preset(preset.json(), "manifest.json") == preset


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no preset 'vgg'") as caught:
        find("vgg")
    assert "fast-neural-style-vgg" in str(caught.value.hint)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    file = tmp_path / "pets.toml"
    file.write_text(
        'median_filter = 3\nlabels = "classes.txt"\n'
        '[input]\nchannels = "grey"\nrange = [0, 16]\nmean = 8\nstd = [4]\n'
    )
    assert find(str(file)) == Preset(
        "pets", PixelEncoding("grey", (0, 16), (8,), (4,)), None, 3, labels=("cat", "dog")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("median_filter = 3", r"needs a table \[input\]"),
        ("median_filter = 2\n[input]", "0 or odd"),
        ("[input]\nmeans = [1]", "no entry 'means'"),
        ("[input]\nmean = [1, 2]", r"1 or 3 number\(s\)"),
        ('[input]\nmean = ["a"]', r"1 or 3 number\(s\)"),
        ("[input]\nmean = inf", r"1 or 3 number\(s\)"),
        ("[input]\nrange = [1, 1]", "two different"),
        ("[input]\nstd = 0", "must not be 0"),
        ('[input]\nchannels = "RGBA"', "RGB, BGR, Y, grey"),
        ('border = "zero"\n[input]', "none"),
        ("labels = [1]\n[input]", "list of strings"),
        ('labels = "nowhere.txt"\n[input]', "cannot be read"),
        ("[input", "no TOML"),
        ("input = 3", "should be a table"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_preset(str(file))


def test_a_missing_file_is_reported() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read"):
        find("nowhere.toml")
