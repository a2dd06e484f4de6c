"""Input files, and the output files that they become."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porter.errors import EmitError, UsageError
from porter.imaging.photos import ENDINGS, format_of
from porter.system.atomic import require_file_target


@dataclass(frozen=True)
class Pair:
    """A photo, its result, and the file that shows both side by side, if requested.

    The photo is scaled so that its longer side has `longest` pixels.
    """

    source: Path
    target: Path
    strip: Path | None = None
    longest: int | None = None

    @property
    def written(self) -> list[Path]:
        return [self.target] if self.strip is None else [self.target, self.strip]

    @property
    def exists(self) -> bool:
        """Whether all that is written of the photo is there."""
        return all(target.exists() for target in self.written)


def pairs(
    inputs: Iterable[str],
    output: Path,
    compare: bool = False,
    force: bool = False,
    sizes: Sequence[int] = (),
) -> list[Pair]:
    """Photos with their results: `output` is a file for one photo, else a folder.

    In a folder a result is named after its photo, as `.png`, which is lossless, and lies in the
    subfolder in which the photo was found. `sizes` are pixels of the longer side: of several each
    is made, and stands in the name.

    Raises UsageError if there is no photo, if two would become one file or a file exists, and
    EmitError if nothing can be written.
    """
    sources = list(dict.fromkeys(found(inputs)))
    if not sources:
        raise UsageError("there is no picture in " + ", ".join(inputs))
    single = len(sources) == 1 and bool(output.suffix) and not output.is_dir()
    if single:
        format_of(output)
    elif output.suffix.lower() in ENDINGS and not output.is_dir():
        raise UsageError(
            f"{output} names one picture, and there are {len(sources)} photos",
            hint=f"name a folder, which gets a picture for each: `output={output.with_suffix('')}`",
        )
    planned = [
        sized(source, output if single else output / within.with_suffix(".png"), compare, size)
        for source, within in sources
        for size in named_sizes(sizes)
    ]
    require_distinct(planned)
    for pair in planned:
        require_free(pair, force)
    for folder in dict.fromkeys(pair.target.parent for pair in planned):
        require_writable(folder)
    return planned


def named_sizes(sizes: Sequence[int]) -> list[tuple[int | None, str]]:
    """Sizes, and what each adds to a result's name: nothing where there is one only."""
    if len(sizes) < 2:
        return [(size, "") for size in sizes or (None,)]
    return [(size, f"_{size}") for size in dict.fromkeys(sizes)]


def sized(source: Path, target: Path, compare: bool, size: tuple[int | None, str]) -> Pair:
    """A pair at one of `named_sizes`."""
    longest, suffix = size
    return with_strip(Pair(source, target.with_stem(target.stem + suffix), None, longest), compare)


def with_strip(pair: Pair, compare: bool) -> Pair:
    """The pair; if requested, the comparison strip is written beside the result."""
    strip = pair.target.with_stem(f"{pair.target.stem}_compare")
    return replace(pair, strip=strip) if compare else pair


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
                f"{target} already exists",
                hint="choose another `output=`, or add `skip_existing=True` or `force=True`",
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
