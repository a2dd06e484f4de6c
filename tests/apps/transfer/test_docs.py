"""docs/transfer.md is true: its commands can be run, its pictures are there, its names exist."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from porter.apps.transfer import open_descriptor
from porter.apps.transfer.recipe import CHOICES, NAMES, Recipe, read_recipe
from porter.cli import main as cli
from porter.cli.transfer import recipe_of
from tests.build import FIXTURES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/transfer.md").read_text(encoding="utf-8")
SLIM = FIXTURES / "descriptors/slim_vgg16.npz"


def test_the_commands_of_the_page_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    sys.modules.pop("transfer_pictures", None)
    import transfer_pictures

    commands = transfer_pictures.commands()
    assert {command[command.index("--recipe") + 1] for command in commands} == set(NAMES)
    layers: set[str] = set()
    for command in commands:
        options = cli.parser().parse_args(command)
        layers.update(recipe_of(options).layers)
        for path in (options.content, *options.style, options.output):
            assert (ROOT / path).exists(), path
        assert options.descriptor.name == transfer_pictures.WEIGHTS
    open_descriptor(SLIM, sorted(layers))


def test_every_picture_of_the_page_is_there() -> None:
    shown = re.findall(r"!\[\]\(([^)]+)\)", PAGE)
    assert len(shown) == 8
    assert all((ROOT / "docs" / path).is_file() for path in shown)


def test_every_choice_is_described() -> None:
    for choice in ("content_loss", "style_loss", "tv_loss"):
        assert all(f"`{name}`" in PAGE for name in CHOICES[choice])
    options = {f"--{each.name.replace('_', '-')}" for each in fields(Recipe)}
    documented = set(re.findall(r"(--[a-z][a-z0-9-]*)", PAGE))
    assert options - documented <= {
        "--name",
        "--source",
        "--noise",
        "--memory",
        "--tv-loss",
        "--pooling",
    }


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_for_vgg(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.layers
    assert all(re.fullmatch(r"relu[1-5]_[1-4]", layer) for layer in recipe.layers)
