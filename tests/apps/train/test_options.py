"""The options of train.lua, by name and default, and what is refused."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from porter.apps.train.options import TrainOptions
from porter.cli import main as cli
from porter.errors import UsageError
from tests.apps.train.conftest import Make

TRAIN_LUA = {
    "content_layers": "relu4_2",
    "style_layers": "relu1_1,relu2_1,relu3_1,relu4_1",
    "learning_rate": 1e-3,
    "num_iterations": 50000,
    "save_every": 1000,
    "batch_size": 1,
    "image_size": 256,
    "content_weight": 1.0,
    "style_weight": 1.0,
    "tv_weight": 0.0,
    "style_size": 256,
    "mode": "style",
    "model": "pyramid",
    "vgg_no_pad": False,
    "normalization": "instance",
    "pyramid_loss": 1,
    "pyramid_decay": 0.9,
    "manualSeed": 0,
    "nThreads": 4,
}
NEEDED = ["--style_image", "s.png", "--descriptor", "d.npz", "-o", "run"]


def parsed(*arguments: str) -> argparse.Namespace:
    return cli.parser().parse_args(["train", *NEEDED, *arguments])


def test_defaults_are_those_of_train_lua() -> None:
    options = parsed()
    assert {name: getattr(options, name) for name in TRAIN_LUA} == TRAIN_LUA
    assert {f.name: f.default for f in fields(TrainOptions) if f.name in TRAIN_LUA} == TRAIN_LUA


def test_underscores_and_dashes_mean_the_same() -> None:
    assert parsed("--tv-weight", "2").tv_weight == parsed("--tv_weight", "2").tv_weight == 2


@pytest.mark.parametrize(("arguments", "meant"), [([], True), (["true"], True), (["false"], False)])
def test_vgg_no_pad_is_a_flag_or_a_word(arguments: list[str], meant: bool) -> None:
    assert parsed("--vgg_no_pad", *arguments).vgg_no_pad is meant


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"image_size": 4}, "image_size"),
        ({"mode": "photo"}, "mode"),
        ({"normalization": "layer"}, "normalization"),
        ({"data": None}, "photos"),
        ({"style_layers": "", "content_layers": ""}, "nothing to learn"),
    ],
)
def test_nonsense_is_refused(options: Make, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options(**changed)


def test_a_run_may_be_made_longer_but_not_another(options: Make) -> None:
    saved = options().json()
    assert options(num_iterations=99, save_every=5, output=Path("moved")).differences(saved) == {}
    assert options(tv_weight=1.0).differences(saved) == {"tv_weight": (0.0, 1.0)}


ROOT = Path(__file__).parents[3]


def shown(command: str) -> list[list[str]]:
    """Commands of the documents that begin like this."""
    texts = [
        (ROOT / name).read_text(encoding="utf-8") for name in ("docs/tour.md", "docs/training.md")
    ]
    found = re.findall(rf"^porter {command} .*fixtures.*$", "\n".join(texts), flags=re.MULTILINE)
    return [shlex.split(line)[1:] for line in found]


@pytest.mark.parametrize("command", ["train", "synthesize"])
def test_the_documents_show_commands_that_exist(command: str) -> None:
    commands = shown(command)
    assert commands
    for arguments in commands:
        parsed = cli.parser().parse_args(arguments)
        if command == "train":
            TrainOptions(**{f.name: getattr(parsed, f.name) for f in fields(TrainOptions)})
        files = [each for each in arguments if each.startswith("fixtures/")]
        assert all((ROOT / file).exists() for file in files)
