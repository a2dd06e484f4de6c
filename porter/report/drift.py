"""What changed between two JSON reports, such as last week's and today's of a CI run.

Both are output of `porter convert --json`, `porter diff --json` or `porter check --json`. Errors
are in units of each layer's scale; those below float32 rounding count as equal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.errors import UsageError
from porter.report.as_json import SCHEMA
from porter.system.input_files import require_file

ROUNDING = 1.2e-7
"""One unit in the last place of float32 at 1: smaller errors are all equally good."""
KINDS = ("isolated", "accumulated")


@dataclass(frozen=True)
class Entry:
    """One layer (of a report) or one fixture (of a check)."""

    passed: bool
    errors: Mapping[str, float | None]


@dataclass(frozen=True)
class Change:
    """The change of one layer or fixture: `before` and `after` are errors, or None."""

    name: str
    what: str
    before: float | None = None
    after: float | None = None

    def json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "what": self.what,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class Drift:
    """All changes between two reports; only those in `worse` are failures."""

    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    added: tuple[str, ...]
    compared: int

    def json(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "verdict": "fail" if self.worse else "pass",
            "compared": self.compared,
            "worse": [change.json() for change in self.worse],
            "better": [change.json() for change in self.better],
            "added": list(self.added),
        }


def read(path: Path) -> dict[str, Entry]:
    """The layers or fixtures of a JSON report. Raises UsageError for any other file."""
    try:
        body = json.loads(require_file(path).read_text(encoding="utf-8"))
        if "results" in body:
            return {
                each["path"]: Entry(each["status"] == "pass", {k: each[k] for k in KINDS})
                for each in body["results"]
            }
        if body["schema"] != SCHEMA:
            raise UsageError(f"{path} is a report of another version", received=str(body["schema"]))
        return {name_of(each): entry_of(each) for each in body["layers"]}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no report of porter",
            received=f"{type(error).__name__}: {error}",
            hint="give two files that `porter convert --json`, `porter diff --json` or "
            "`porter check --json` printed",
        ) from error


def name_of(layer: Mapping[str, Any]) -> str:
    """The path of a layer, with the number of the call from the second on."""
    call = f"#{layer['call']}" if layer["call"] > 1 else ""
    return f"{layer['path'] or '(root)'}{call}"


def entry_of(layer: Mapping[str, Any]) -> Entry:
    """Both errors of a layer; an error without a number is infinite."""
    errors: dict[str, float | None] = {}
    for kind in KINDS:
        measure = layer[kind]
        if measure is not None:
            errors[kind] = math.inf if measure["max_rel"] is None else float(measure["max_rel"])
    return Entry(layer["status"] == "pass", errors)


def compare(old: Mapping[str, Entry], new: Mapping[str, Entry], factor: float = 10.0) -> Drift:
    """What got worse or better by more than `factor`, failed or vanished."""
    worse: list[Change] = []
    better: list[Change] = []
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            worse.append(Change(name, "is missing in the new report"))
            continue
        if before.passed != after.passed:
            side = worse if before.passed else better
            side.append(Change(name, "fails now" if before.passed else "passes now"))
        for kind in KINDS:
            one, two = before.errors.get(kind), after.errors.get(kind)
            if one is None or two is None:
                if one is not None:
                    worse.append(Change(name, f"{kind} is no longer measured", finite(one)))
                continue
            low, high = max(one, ROUNDING), max(two, ROUNDING)
            if high > factor * low:
                worse.append(Change(name, kind, finite(one), finite(two)))
            elif low > factor * high:
                better.append(Change(name, kind, finite(one), finite(two)))
    added = tuple(name for name in new if name not in old)
    return Drift(tuple(worse), tuple(better), added, sum(name in new for name in old))


def finite(number: float) -> float | None:
    """None in place of NaN and infinity, which JSON lacks."""
    return number if math.isfinite(number) else None
