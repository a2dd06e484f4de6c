"""What is expected of each fixture beyond parity: `porter.toml`, and errors seen before.

    [models."nets/*/model.t7"]          # paths below the file; later tables add to earlier ones
    isolated = 1e-5                     # tolerances of these models
    accumulated = 1e-4
    formats = ["saved_model"]           # written, loaded again and compared
    transposes = 0                      # of the emitted graph
    sha256 = "8f0c…"                    # of the model file
    bn = "train"
    select = "generator"
    status = "unmapped"                 # it has to be refused so, or with "error"

`porter check --update` writes the errors of all passing fixtures to `porter.expected.json` beside
it, to be reviewed and committed; from then on an error more than ten times larger is a failure.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from porter.errors import UsageError
from porter.ir.options import BATCH_NORM_MODES, BatchNormMode, Options
from porter.parity.compare import Tolerance
from porter.system.atomic import write_text
from porter.system.input_files import require_file

FILE = "porter.toml"
RECORDED = "porter.expected.json"
FACTOR = 10.0
ROUNDING = 1.2e-7
"""Errors below one unit in the last place of float32 are all equally good."""
STATUSES = ("pass", "unmapped", "error")


@dataclass(frozen=True)
class Expectation:
    """Of one model. What is None is left to the command line; `errors` are from the last review."""

    isolated: float | None = None
    accumulated: float | None = None
    formats: tuple[str, ...] = ()
    transposes: int | None = None
    sha256: str | None = None
    bn: BatchNormMode | None = None
    select: str | None = None
    status: str = "pass"
    differs: tuple[str, ...] = ()
    errors: Mapping[str, float] = field(default_factory=dict)

    def tolerance(self, default: Tolerance) -> Tolerance:
        """The command line's tolerances with this model's own in their place."""
        own = {"isolated": self.isolated, "accumulated": self.accumulated}
        return dataclasses.replace(default, **{k: v for k, v in own.items() if v is not None})

    def options(self, default: Options) -> Options:
        """The command line's options with this model's own in their place."""
        return default if self.bn is None else dataclasses.replace(default, bn=self.bn)

    def broken(
        self,
        path: Path,
        isolated: float | None,
        accumulated: float | None,
        transposes: int | None,
    ) -> str:
        """What is not as expected of a fixture that passed, or nothing."""
        if self.sha256 is not None:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != self.sha256:
                return f"the model's sha256 is {found}, {FILE} expects {self.sha256}"
        if self.transposes is not None and transposes not in (None, self.transposes):
            return f"{transposes} transposes in the graph, {FILE} expects {self.transposes}"
        for name, error in (("isolated", isolated), ("accumulated", accumulated)):
            before = self.errors.get(name)
            if error is None or before is None:
                continue
            if max(error, ROUNDING) > FACTOR * max(before, ROUNDING):
                return (
                    f"the {name} error is {error:.1e}, it was {before:.1e} when it was reviewed "
                    "(`porter check --update` accepts it)"
                )
        return ""


class Expectations:
    """What the files above each fixture say; every file is read once."""

    def __init__(self) -> None:
        self.read: dict[Path, tuple[dict[str, Any], dict[str, Any]]] = {}

    def of(self, path: Path) -> Expectation:
        """Of one fixture. Raises UsageError for files that do not say it right."""
        home = self.home(path)
        if home is None:
            return Expectation()
        written, recorded = self.files(home)
        name = path.resolve().relative_to(home).as_posix()
        values: dict[str, Any] = {}
        for pattern, table in written.items():
            if fnmatch.fnmatchcase(name, pattern):
                values |= table
        return Expectation(**values, errors=recorded.get(name, {}))

    def home(self, path: Path) -> Path | None:
        """The nearest folder above a fixture with one of the files."""
        for folder in path.resolve().parents:
            if (folder / FILE).is_file() or (folder / RECORDED).is_file():
                return folder
        return None

    def files(self, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both files of a folder; one that is not there says nothing."""
        if home not in self.read:
            self.read[home] = (read_toml(home / FILE), read_recorded(home / RECORDED))
        return self.read[home]

    def update(
        self, results: Iterable[tuple[Path, float | None, float | None]], default: Path
    ) -> list[Path]:
        """Record the errors of passing fixtures (path, isolated, accumulated); files written.

        They go beside the nearest of the files, or else into the folder `default`.
        """
        tables: dict[Path, dict[str, Any]] = {}
        for path, isolated, accumulated in results:
            home = self.home(path) or default.resolve()
            entries = tables.setdefault(home, dict(self.files(home)[1]))
            errors = {"isolated": isolated, "accumulated": accumulated}
            entries[path.resolve().relative_to(home).as_posix()] = {
                name: float(f"{error:.3g}") for name, error in errors.items() if error is not None
            }
        for home, entries in tables.items():
            text = json.dumps({"version": 1, "errors": entries}, indent=1, sort_keys=True)
            write_text(home / RECORDED, text + "\n")
        return [home / RECORDED for home in tables]


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Tables by pattern, checked. Raises UsageError naming file and key."""
    if not path.is_file():
        return {}
    try:
        body = tomllib.loads(require_file(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    tables = body.get("models", {})
    if set(body) - {"models"} or not isinstance(tables, dict):
        raise UsageError(f'{path} should hold tables [models."PATTERN"]', received=", ".join(body))
    return {pattern: checked(path, pattern, table) for pattern, table in tables.items()}


def checked(path: Path, pattern: str, table: Any) -> dict[str, Any]:
    """One table of porter.toml."""
    kinds: dict[str, Any] = {
        "isolated": (int, float),
        "accumulated": (int, float),
        "formats": list,
        "transposes": int,
        "sha256": str,
        "bn": str,
        "select": str,
        "status": str,
        "differs": list,
    }
    where = f'{path}, [models."{pattern}"]'
    if not isinstance(table, dict):
        raise UsageError("this should be a table", where=where, received=str(table))
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"there is no key '{key}'", where=where, hint=", ".join(kinds))
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise UsageError(f"'{key}' has the wrong kind", where=where, received=repr(value))
        if key == "bn" and value not in BATCH_NORM_MODES:
            choices = ", ".join(BATCH_NORM_MODES)
            raise UsageError("'bn' is unknown", where=where, received=value, hint=choices)
        if key == "status" and value not in STATUSES:
            choices = ", ".join(STATUSES)
            raise UsageError("'status' is unknown", where=where, received=value, hint=choices)
    return {k: tuple(map(str, v)) if kinds[k] is list else v for k, v in table.items()}


def read_recorded(path: Path) -> dict[str, Any]:
    """Errors by fixture path. Raises UsageError for a file that porter did not write."""
    if not path.is_file():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["version"] != 1 or not isinstance(body["errors"], dict):
            raise ValueError("another version")
        errors: dict[str, Any] = body["errors"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", hint="make it again with `porter check --update`"
        ) from error
    return errors
