"""Input files, and the output files that they become."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from porter.errors import EmitError, UsageError
from porter.imaging.photos import ENDINGS, format_of
from porter.system.atomic import require_file_target


@dataclass(frozen=True)
class Pair:
    """A photo, its result, and the file that shows both side by side, if requested."""

    source: Path
    target: Path
    strip: Path | None = None

    @property
    def written(self) -> list[Path]:
        return [self.target] if self.strip is None else [self.target, self.strip]


def pairs(
    inputs: Iterable[str], output: Path, compare: bool = False, force: bool = False
) -> list[Pair]:
    """Photos with their results: `output` is a file for one photo, else a folder.

    In a folder a result is named after its photo, as `.png`, which is lossless. Raises UsageError
    if there is no photo, if two would become one file or a file exists, and EmitError if nothing
    can be written.
    """
    sources = list(dict.fromkeys(found(inputs)))
    if not sources:
        raise UsageError("there is no picture in " + ", ".join(inputs))
    single = len(sources) == 1 and bool(output.suffix) and not output.is_dir()
    if single:
        format_of(output)
    planned = [
        with_strip(source, output if single else output / within.with_suffix(".png"), compare)
        for source, within in sources
    ]
    require_distinct(planned)
    for pair in planned:
        require_free(pair, force)
    require_writable(output.parent if single else output)
    return planned


def with_strip(source: Path, target: Path, compare: bool) -> Pair:
    """A pair; the comparison strip is written beside the result."""
    return Pair(source, target, target.with_stem(f"{target.stem}_compare") if compare else None)


def found(inputs: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """Every photo with its path relative to the input folder; folders are searched recursively."""
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            yield from ((file, file.relative_to(path)) for file in photos_in(path))
        elif path.exists():
            yield path, Path(path.name)
        else:
            matching = [each for each in glob.glob(name, recursive=True) if os.path.exists(each)]
            if not matching:
                raise UsageError(f"there is no file or folder '{name}'")
            yield from found(sorted(matching))


def photos_in(folder: Path) -> list[Path]:
    """Files with an image extension, except hidden ones."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def require_distinct(planned: list[Pair]) -> None:
    """Raise UsageError for two photos that would become one file, as cat.jpg and cat.png."""
    targets: dict[Path, Path] = {}
    for pair in planned:
        for target in pair.written:
            first = targets.setdefault(target, pair.source)
            if first != pair.source:
                raise UsageError(
                    f"{first} and {pair.source} would both become {target}",
                    hint="run them one after the other, with another `output=` each",
                )


def require_free(pair: Pair, force: bool) -> None:
    """Raise UsageError if a target exists (`force`: replace it) or is the photo itself."""
    for target in pair.written:
        if target.exists() and target.samefile(pair.source):
            raise UsageError(f"{target} is the photo itself", hint="choose another `output=`")
        if target.exists() and not force:
            raise UsageError(
                f"{target} already exists", hint="choose another `output=`, or add `force=True`"
            )
        if target.parent.is_dir():  # else it is made below
            require_file_target(target, force)


def require_writable(folder: Path) -> None:
    """Create the folder, and check that files can be created in it, before any slow step."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmitError(
            f"{folder} cannot be made: {error.strerror}",
            hint="choose another folder with `output=`",
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EmitError(
            f"{folder} cannot be written to", hint="choose another folder with `output=`"
        )
