"""Fixtures for regression: a model, its input, and what Torch made of it.

Four kinds are found: a net (`model.t7` with `activations.t7`, which holds the input as well, or
with `input.t7` and `output.t7`), a single layer (one file with `{module=, input=, output=}`), a
triple (`X.t7` with `X.in.t7` and `X.out.t7`, or with `X.activations.t7`) and a step of training
(one file with `{module=, input=, train_output=, gradOutput=, …}`, recorded_step.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from porter import torch7
from porter.apps.check.recorded_step import MARKS
from porter.errors import T7Error, UsageError
from porter.torch7 import Table

Kind = Literal["net", "layer", "triple", "gradient"]


@dataclass(frozen=True)
class Fixture:
    """Where a fixture's model, input and expected activations are."""

    path: Path
    kind: Kind

    def files(self) -> list[Path]:
        """Every file that the outcome depends on."""
        stem = self.path.name.removesuffix(".t7")
        names = {
            "net": ("input.t7", "activations.t7", "output.t7"),
            "triple": (f"{stem}.in.t7", f"{stem}.out.t7", f"{stem}.activations.t7"),
            "layer": (),
            "gradient": (),
        }
        beside = (self.path.with_name(name) for name in names[self.kind])
        return [self.path, *(path for path in beside if path.is_file())]


def find(paths: list[Path]) -> list[Fixture]:
    """All fixtures below some paths, in order. Raises UsageError for a path that is not there."""
    found: dict[Path, Fixture] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
        for fixture in search(path):
            found.setdefault(fixture.path, fixture)
    return list(found.values())


def search(path: Path) -> Iterator[Fixture]:
    """The fixtures of one file or folder."""
    if path.is_file():
        fixture = classify(path, alone=True)
        if fixture is not None:
            yield fixture
        return
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith(".t7"):
                fixture = classify(Path(folder, name))
                if fixture is not None:
                    yield fixture


def classify(path: Path, alone: bool = False) -> Fixture | None:
    """What kind of fixture a `.t7` file is the model of, if any."""
    beside = path.with_name
    if path.name == "model.t7":
        both = beside("input.t7").is_file() and beside("output.t7").is_file()
        if both or beside("activations.t7").is_file():
            return Fixture(path, "net")
    stem = path.name.removesuffix(".t7")
    both = beside(f"{stem}.in.t7").is_file() and beside(f"{stem}.out.t7").is_file()
    if both or beside(f"{stem}.activations.t7").is_file():
        return Fixture(path, "triple")
    if stem.endswith((".in", ".out", ".activations")):
        return None
    if path.name in ("input.t7", "activations.t7", "output.t7"):
        return None
    try:
        root = torch7.read(path).root
    except T7Error:
        # A file named by the user is reported; in a folder it may be anything.
        return Fixture(path, "layer") if alone else None
    names = set(root.keys()) if isinstance(root, Table) else set()
    if "module" in names and names & MARKS:
        return Fixture(path, "gradient")
    return Fixture(path, "layer") if {"module", "input", "output"} <= names else None
