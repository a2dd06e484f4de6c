"""The published systems that are listed in `systems.toml`, and which of them a net looks like."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pkgutil import get_data
from typing import Any

from porter.apps.zoo import pattern
from porter.apps.zoo.sketch import Sketch, sketch
from porter.apps.zoo.widths import Bindings, bindings, require_pattern
from porter.frontend.model_file import ModelFile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = re.compile(r"^\[([\w-]+)(\.recognise)?\]$", re.MULTILINE)
"""The header of a system's table, or of what it is recognised by."""
BRACES = str.maketrans("", "", "{}")
PAPER = {"authors": str, "year": int, "title": str}
ENTRIES = {
    **dict.fromkeys(("title", "family", "source", "feed", "gives"), str),
    **dict.fromkeys(("classes", "input", "output"), list),
    **dict.fromkeys(("paper", "recognise"), dict),
}
OPTIONAL = {"preset": str, "options": list, "pitfalls": list}
"""Entries of a system in `systems.toml` and their types."""


@dataclass(frozen=True)
class Paper:
    """Where a system was published."""

    authors: str
    year: int
    title: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}): {self.title}"


@dataclass(frozen=True)
class Fingerprint:
    """What every net of a system has in common, at any width.

    `sketch` is a pattern (pattern.py) for all of a net's sketch (sketch.py),
    `widths` one for its widths (widths.py) and `views` one for its views of two sizes, `around`
    are keys of the table or object that the file keeps the net in.
    """

    sketch: str
    widths: str = ""
    views: str = ""
    around: tuple[str, ...] = ()

    def bindings(self, drawn: Sketch, around: Set[str]) -> Bindings | None:
        """The widths' letters, if a net is of the system by its sketch and the keys around it."""
        if not set(self.around) <= around:
            return None
        bound = bindings(self.widths, drawn.widths)
        bound = None if bound is None else bindings(self.views, drawn.views, bound)
        # Widths first: they tell most nets apart, and sketches are patterns to be parsed.
        return None if bound is None or not pattern.fullmatch(self.sketch, drawn.text) else bound


@dataclass(frozen=True)
class System:
    """A published system.

    `name` is its folder in fixtures/zoo; `input` and `output` are shapes in Torch's order, in which
    capitals are free axes, `N` the batch, and small letters sizes that differ from file to file;
    `feed` and `gives` say what the numbers mean; `options` are what `porter convert` needs besides
    the file, in which `{a}` is the width that the fingerprint calls a.
    """

    name: str
    title: str
    family: str
    paper: Paper
    source: str
    classes: tuple[str, ...]
    input: tuple[str, ...]
    feed: str
    output: tuple[str, ...]
    gives: str
    preset: str
    options: tuple[str, ...]
    pitfalls: tuple[str, ...]
    fingerprint: Fingerprint

    @property
    def advice(self) -> str:
        """What to feed a net of this system, in one line."""
        return f"feed {shapes(self.input)}, {self.feed}"

    def command(self, file: str = "model.t7", select: str | None = None) -> str:
        """The command that converts a file of this system."""
        words = [option.translate(BRACES) for option in self.options]
        if select is not None:
            if "--select" in words:
                at = words.index("--select")
                del words[at : at + 2]
            words = ["--select", select, *words]
        return shlex.join(["porter", "convert", *words, file])

    def json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "title": self.title,
            "family": self.family,
            "paper": vars(self.paper),
            "source": self.source,
            "classes": list(self.classes),
            "input": list(self.input),
            "feed": self.feed,
            "output": list(self.output),
            "gives": self.gives,
            "preset": self.preset,
            "command": self.command(),
            "pitfalls": list(self.pitfalls),
        }


def shapes(each: tuple[str, ...]) -> str:
    """Shapes as they are shown: N×3×96×96, or N and 4 of N×S."""
    counted = [(shape.replace("x", "×"), len(list(run))) for shape, run in groupby(each)]
    return " and ".join(f"{count} of {shape}" if count > 1 else shape for shape, count in counted)


@cache
def systems() -> tuple[System, ...]:
    """All systems, in the order of the file."""
    return tuple(parse_system(name, body) for name, body in tomllib.loads(listed()).items())


def listed() -> str:
    """The text of `systems.toml`, also inside a zip file."""
    content = get_data(__package__, "systems.toml")
    assert content is not None
    return content.decode("utf-8")


@cache
def tables() -> dict[str, tuple[str, str]]:
    """The text of each system, and of what it is recognised by: most are never parsed."""
    _, *parts = TABLE.split(listed())
    names, texts = parts[0::3], parts[2::3]
    return {
        name: (own, fingerprint)
        for name, own, fingerprint in zip(names[0::2], texts[0::2], texts[1::2], strict=True)
    }


def one_system(name: str) -> System:
    """The system of a name, without a look at the others."""
    own, fingerprint = tables()[name]
    body = tomllib.loads(own)
    return parse_system(name, {**body, "recognise": tomllib.loads(fingerprint)})


def parse_system(name: str, body: Mapping[str, Any]) -> System:
    """A system from its table. Raises ValueError for an entry that is missing or unknown."""
    require_entries(body, ENTRIES, OPTIONAL, name)
    require_entries(body["paper"], PAPER, {}, f"{name}.paper")
    return System(
        name=name,
        title=body["title"],
        family=body["family"],
        paper=Paper(**body["paper"]),
        source=body["source"],
        classes=tuple(body["classes"]),
        input=tuple(body["input"]),
        feed=body["feed"],
        output=tuple(body["output"]),
        gives=body["gives"],
        preset=body.get("preset", ""),
        options=tuple(body.get("options", ())),
        pitfalls=tuple(body.get("pitfalls", ())),
        fingerprint=parse_fingerprint(f"{name}.recognise", body["recognise"]),
    )


def parse_fingerprint(where: str, body: Mapping[str, Any]) -> Fingerprint:
    """What a system is recognised by, from its table. Raises ValueError."""
    require_entries(body, {"sketch": str}, {"widths": str, "views": str, "around": list}, where)
    pattern.parse(body["sketch"])
    fingerprint = fingerprint_of(body)
    for each in (fingerprint.widths, fingerprint.views):
        require_pattern(each)
    return fingerprint


def fingerprint_of(body: Mapping[str, Any]) -> Fingerprint:
    """The same from a table that is right."""
    widths, views = (body.get(name, "") for name in ("widths", "views"))
    return Fingerprint(body["sketch"], widths, views, tuple(body.get("around", ())))


def require_entries(
    body: Mapping[str, Any], mandatory: Mapping[str, Any], optional: Mapping[str, Any], where: str
) -> None:
    """Raise ValueError where an entry is missing, unknown or of another type."""
    for key in mandatory:
        if key not in body:
            raise ValueError(f"{where} has no entry {key}")
    types = {**mandatory, **optional}
    for key, value in body.items():
        if key not in types or not isinstance(value, types[key]):
            raise ValueError(f"{where}.{key} is no entry, or should not be {value!r}")


def looks_like(opened: ModelFile) -> tuple[System, ...]:
    """The systems that a net may be of, by its modules and their widths; mostly none or one.

    Their options hold the net's own widths.
    """
    drawn = sketch(opened.root)
    if drawn is None:
        return ()
    named: list[System] = []
    for name, (_, recognised_by) in tables().items():
        fingerprint = fingerprint_of(tomllib.loads(recognised_by))
        bound = fingerprint.bindings(drawn, opened.wrapper.keys())
        if bound is not None:
            system = one_system(name)
            options = tuple(option.format_map(bound) for option in system.options)
            named.append(replace(system, options=options))
    return tuple(named)


def likeness(system: System) -> str:
    """What is said of a net that looks like a published system: its name, and what it is fed."""
    return f"the net looks like {system.title}: {system.advice}; it gives {system.gives}"


def likenesses(opened: ModelFile) -> list[str]:
    """A line for each system that a net may be of."""
    return [likeness(system) for system in looks_like(opened)]
