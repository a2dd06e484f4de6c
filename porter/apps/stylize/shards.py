"""Photos shared out among several runs of `porter stylize`, each with a record of what it did.

Shard I of N takes every N-th photo of the sorted list. What it has done stands in
`OUTPUT/shard-I-of-N.jsonl`, one line a picture, written after the picture. A run that was stopped
is started again by the same command; it leaves out what is done, unless the photo has changed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.errors import UsageError
from porter.imaging.files import Pair, require_free
from porter.system.atomic import reported
from porter.system.tf_config import task


@dataclass(frozen=True)
class Shard:
    """Number `index` of `count`, from 1 on."""

    index: int
    count: int

    def of(self, pairs: list[Pair]) -> list[Pair]:
        """Its share of the photos: the same whoever asks."""
        return sorted(pairs, key=lambda pair: (pair.source, pair.target))[
            self.index - 1 :: self.count
        ]

    @property
    def record(self) -> str:
        """Name of the file that tells what is done."""
        return f"shard-{self.index}-of-{self.count}.jsonl"


def shard_of(text: str | None) -> Shard | None:
    """The shard that `shard=` names, by numbers or as TF_CONFIG's worker; None where it is not set.

    Raises UsageError for what names none.
    """
    if text is None:
        return None
    if text == "TF_CONFIG":
        cluster = task()
        if cluster is None:
            raise UsageError("TF_CONFIG is not set: this is no worker of a cluster")
        return Shard(cluster[0] + 1, cluster[1])
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(
            "a shard is I/N, number I of N from 1 on",
            received=text,
            hint="try `shard=1/2`, or `shard=TF_CONFIG`",
        )
    return Shard(int(index), int(count))


class Record:
    """What a run has done so far, in a file. Raises UsageError for one that is no such record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = self.path.exists()
        self.done = dict(map(self.read, self.lines())) if self.begun else {}

    def lines(self) -> list[str]:
        """Whole lines: a kill may have left the last one half written."""
        text = self.path.read_text(encoding="utf-8")
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def read(self, line: str) -> tuple[str, list[int]]:
        """A picture, and what its photo was like."""
        try:
            body = json.loads(line)
            return str(body["output"]), [int(number) for number in body["seen"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path} is no record of porter stylize",
                received=line.strip()[:80],
                hint="remove it, or choose another `output=`",
            ) from error

    def left(self, pairs: list[Pair], force: bool) -> list[Pair]:
        """Photos still to be done. Raises UsageError where a picture of others is in the way.

        A run that goes on may find a picture that was written but not recorded: it is its own.
        """
        waiting = [pair for pair in pairs if not self.holds(pair)]
        for pair in waiting:
            require_free(pair, force or self.begun)
        return waiting

    def holds(self, pair: Pair) -> bool:
        """Whether a picture is there, made of the photo as it is now."""
        return self.done.get(str(pair.target)) == fingerprint(pair.source) and pair.exists

    def open(self) -> Any:
        """The file to add lines to, freed of a half-written one. Raises EmitError."""
        with reported(self.path):
            whole = sum(len(line.encode()) for line in self.lines()) if self.begun else 0
            file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
            file.truncate(whole)
            return file

    def add(self, file: Any, source: Path, target: Path) -> None:
        """One more picture is done."""
        with reported(self.path):
            line = {"input": str(source), "output": str(target), "seen": fingerprint(source)}
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def fingerprint(photo: Path) -> list[int]:
    """Size in bytes and time of the last change, in nanoseconds."""
    status = photo.stat()
    return [status.st_size, status.st_mtime_ns]
