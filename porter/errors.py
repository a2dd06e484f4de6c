"""Every error porter raises on purpose, each with the exit code of the command line.

    PorterError
    ├── UsageError            2  the command or the call asks for something impossible
    ├── T7Error               3  the file cannot be read
    │   ├── Truncated            it ends before its content does
    │   ├── Corrupt              its bytes contradict the format
    │   ├── Unsupported          valid Torch7, but nothing porter can read
    │   └── WrongFile            not a Torch7 file at all
    ├── UnreadablePicture     3  a photograph cannot be read, or the net makes nothing of it
    ├── WeightError           3  a weight file from which no descriptor can be built
    ├── UnsafeFile            3  a file that would run code, read other files or fill the memory
    ├── WalkError             4  the file is sound, its modules are not convertible
    │   ├── UnmappedModules      classes without a layer map
    │   ├── MissingField         a field that the class needs is nil
    │   ├── BadField             a field has the wrong kind or value
    │   ├── ShapeMismatch        shapes that cannot meet
    │   ├── BadTable             a Lua table that should be a list is none
    │   ├── TooLarge             tensors beyond any memory
    │   │   └── OutOfMemory   2  beyond what this machine has free
    │   ├── Overwritten          a module reads memory that it has already written to
    │   ├── Endless              modules inside themselves, or astronomically many calls
    │   └── Unforeseen           a module that its layer map did not foresee
    ├── EmitError             2  the output cannot be written
    ├── ParityError           1  the port does not compute what Torch computed
    ├── Diverged              1  a loss or a weight is not a number any more
    ├── WorkerLost           75  another worker of a training run is gone
    ├── Unexpected           70  a bug of porter, in one line; only the command line makes it
    └── Interrupted         130  the user ended the run

Anything else that escapes is a bug in porter: InvariantError, too, which `python -O` does not
switch off as it does `assert`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar


def printable(text: str, limit: int = 120) -> str:
    """`text` from a file made safe to show: control and bidi characters escaped, long text cut.

    Class names and strings in a `.t7` are arbitrary bytes; printed as they are, they could
    move the cursor, retitle the terminal or reverse the rest of the line.
    """
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


_ARGUMENT = re.compile(r"`([A-Za-z]\w*)=([^`\"\n]+)`")


def _as_python(argument: re.Match[str]) -> str:
    """A keyword argument of a message as Python takes it: text in quotes."""
    name, value = argument.groups()
    literal = value in ("True", "False") or re.fullmatch(r"[-+.\d]+", value)
    return f"`{name}={value}`" if literal else f'`{name}="{value}"`'


class PorterError(Exception):
    """What is wrong (`message`), where, what was received, and what to do next (`hint`)."""

    exit_code: ClassVar[int] = 1
    shapes: tuple[str, ...] = ()
    """An `input_shapes` for each input, in order, with which the call works."""
    is_template: bool = False
    """Whether sizes in them are letters to fill in: 3xHxW; then the message says what is known."""

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        received: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.received = received
        self.hint = hint

    @property
    def location(self) -> str | None:
        """Where it happened, for people: a module path, or a file and a byte in it."""
        return self.where

    def __str__(self) -> str:
        lines = [f"{self.location}: {self.message}" if self.location else self.message]
        if self.received is not None:
            lines.append(f"Received: {self.received}")
        if self.hint:
            lines.append(self.hint)
        text = _ARGUMENT.sub(_as_python, "\n".join(lines))
        return "\n".join(printable(line, limit=4_000) for line in text.split("\n"))


class InvariantError(Exception):
    """What always holds does not: a bug of porter, or of the layer map that is at work."""


class UsageError(PorterError):
    """The command line or the call asks for something impossible."""

    exit_code = 2


class SeveralModules(UsageError):
    """A file holds several modules, and none was selected. `example` is the path of one.

    `modules` has the class of each by its path.
    """

    example: str = ""
    modules: dict[str, str] = {}


class ShapeNeeded(UsageError):
    """A model does not tell what it must be fed."""


class T7Error(PorterError):
    """The file cannot be read. `offset` counts bytes; `object_path` is like `root.modules[3]`."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        received: str | None = None,
        hint: str | None = None,
        offset: int | None = None,
        object_path: str | None = None,
    ) -> None:
        super().__init__(message, where=where, received=received, hint=hint)
        self.offset = offset
        self.object_path = object_path

    @property
    def location(self) -> str | None:
        """`model.t7, root.modules[3].weight, byte 1,234`, as far as known."""
        byte = f"byte {self.offset:,}" if self.offset is not None else None
        return ", ".join(part for part in (self.where, self.object_path, byte) if part) or None


class Truncated(T7Error):
    """The file ends before its content does."""


class Corrupt(T7Error):
    """The bytes contradict the format."""


class Unsupported(T7Error):
    """A Torch7 file, but not one that porter can read."""


class WrongFile(T7Error):
    """Not a Torch7 file at all; the message names what it is."""


class UnreadablePicture(PorterError):
    """A photograph cannot be read, or the net makes nothing of it."""

    exit_code = 3


class WeightError(PorterError):
    """A weight file from which no descriptor can be built; the message says what the file is."""

    exit_code = 3


class UnsafeFile(PorterError):
    """A file that would run code, read other files or fill the memory; nothing of it was used."""

    exit_code = 3


class WalkError(PorterError):
    """The file is sound, but its modules cannot be converted."""

    exit_code = 4


class UnmappedModules(WalkError):
    """Classes without a layer map."""


class MissingField(WalkError):
    """A field that the class needs is nil."""


class BadField(WalkError):
    """A field has the wrong kind or an impossible value."""


class ShapeMismatch(WalkError):
    """Shapes that cannot meet."""


class BadTable(WalkError):
    """A Lua table that should be a list has holes."""


class TooLarge(WalkError):
    """Tensors that no memory holds."""


class OutOfMemory(TooLarge):
    """More than this machine has free: another input, or another machine, would do."""

    exit_code = 2


class Overwritten(WalkError):
    """Torch itself reads memory that it has already overwritten, whatever the input's size."""


class Endless(WalkError):
    """The modules cannot be walked whatever the input: another input is not worth a try."""


class Unforeseen(WalkError):
    """A layer map of porter failed on a module: nonsense in the file, or a bug of porter."""


MALFORMED = (MissingField, BadField, UnmappedModules, Endless)
"""Errors that do not depend on the input: another size is not worth a try."""


class EmitError(PorterError):
    """The output cannot be written."""

    exit_code = 2


class ParityError(PorterError):
    """The port does not compute what Torch computed; `reports` has every layer's row."""

    exit_code = 1
    reports: tuple[Any, ...] = ()


class Diverged(PorterError):
    """A loss or a weight is not a number any more."""

    exit_code = 1


class WorkerLost(PorterError):
    """Another worker is gone, and the iteration cannot be finished without it."""

    exit_code = 75
    """EX_TEMPFAIL: start the command again."""


class Unexpected(PorterError):
    """An exception that porter did not foresee."""

    exit_code = 70
    """EX_SOFTWARE: a bug, please report it."""


class Interrupted(PorterError):
    """The user ended the run."""

    exit_code = 130
