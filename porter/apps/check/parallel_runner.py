"""Many fixtures: in several processes, and not again where nothing changed.

The cache is keyed by content: the fixture's files, what is expected of it, porter's own sources and
the libraries that compute. A changed byte in any of them is a miss.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from importlib import metadata, resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from porter.apps.check.checker import Checker, CheckResult
from porter.apps.check.expectations import Expectations
from porter.apps.check.fixtures import Fixture
from porter.apps.registry import registry_with
from porter.errors import UsageError
from porter.ir.options import Options
from porter.parity.compare import Tolerance
from porter.runtime import memory
from porter.system.atomic import write_text

if TYPE_CHECKING:
    from importlib.abc import Traversable

LIBRARIES = ("tensorflow", "numpy", "keras")
PROCESS = 2**30
"""Bytes that a process needs before it holds any activation: TensorFlow, and a model."""
CACHED = ("pass", "fail", "unmapped")
"""An error may come from the machine, so it is tried again."""


@dataclass(frozen=True)
class CheckSettings:
    """All that a checker is made of, as it can be sent to another process."""

    layer_maps: tuple[Path, ...] = ()
    identity: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    tolerance: Tolerance = field(default_factory=Tolerance)

    def checker(self) -> Checker:
        registry = registry_with(self.layer_maps, self.identity, self.map)
        return Checker(registry, self.options, self.tolerance)


class Cache:
    """Results in a folder, by the hash of everything they depend on."""

    def __init__(self, folder: Path, settings: CheckSettings) -> None:
        self.folder = folder
        self.expectations = Expectations()
        self.salt = salt(settings)

    def key(self, fixture: Fixture) -> str:
        digest = hashlib.sha256(self.salt)
        digest.update(repr((fixture.kind, self.expectations.of(fixture.path))).encode())
        for path in fixture.files():
            digest.update(path.name.encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def get(self, fixture: Fixture) -> CheckResult | None:
        """A result of the same content; a file that cannot be read is a miss."""
        try:
            text = self.file(fixture).read_text(encoding="utf-8")
            result = CheckResult(**json.loads(text))
        except (OSError, ValueError, TypeError):
            return None
        return replace(result, path=str(fixture.path), seconds=0.0)

    def put(self, fixture: Fixture, result: CheckResult) -> None:
        if result.status in CACHED:
            file = self.file(fixture)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(vars(result)))

    def file(self, fixture: Fixture) -> Path:
        key = self.key(fixture)
        return self.folder / key[:2] / f"{key}.json"


def salt(settings: CheckSettings) -> bytes:
    """Hash of what all fixtures depend on: sources, user's maps, libraries, options."""
    digest = hashlib.sha256(
        repr((settings.options, settings.tolerance, settings.identity, settings.map)).encode()
    )
    digest.update(f"{platform.python_version()} {platform.machine()}".encode())
    for library in LIBRARIES:
        try:
            digest.update(f"{library} {metadata.version(library)}".encode())
        except metadata.PackageNotFoundError:
            continue
    packages = [resources.files(package) for package in ("porter", "porter.layer_maps")]
    for file in [*chain.from_iterable(map(sources, packages)), *sorted(settings.layer_maps)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.digest()


def sources(package: Traversable) -> Iterator[Traversable]:
    """The Python files of a package, also of one in an archive."""
    for each in sorted(package.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from sources(each)
        elif each.name.endswith(".py"):
            yield each


def run(
    fixtures: list[Fixture],
    settings: CheckSettings,
    jobs: int = 1,
    cache: Path | None = None,
    on_result: Callable[[CheckResult], None] = lambda _: None,
    most: int | None = None,
) -> list[CheckResult]:
    """Check all fixtures; results in their order. `seen` is told of each as it is known.

    All processes together use at most `most` bytes, if given, else what is free. Raises UsageError
    for a number of processes below one, or where memory is not enough for one.
    """
    if jobs < 1:
        raise UsageError("`jobs=` takes a positive number", received=str(jobs))
    if most is not None and most <= PROCESS:
        raise UsageError(
            f"`memory=` must be more than the {memory.gigabytes(PROCESS)} of one process",
            received=memory.gigabytes(most),
        )
    remembered = Cache(cache, settings) if cache is not None else None
    results: dict[Path, CheckResult] = {}
    for fixture in fixtures if remembered else ():
        cached = remembered.get(fixture) if remembered else None
        if cached is not None:
            results[fixture.path] = cached
            on_result(cached)
    missing = [fixture for fixture in fixtures if fixture.path not in results]
    for fixture, result in compute(missing, settings, jobs, most):
        results[fixture.path] = result
        if remembered:
            remembered.put(fixture, result)
        on_result(result)
    return [results[fixture.path] for fixture in fixtures]


def compute(
    fixtures: list[Fixture], settings: CheckSettings, jobs: int, most: int | None = None
) -> Iterator[tuple[Fixture, CheckResult]]:
    """Check fixtures in this process, or in up to `jobs` others: a fresh TensorFlow in each."""
    jobs, share = shared_out(min(jobs, len(fixtures)), most)
    if jobs <= 1:
        checker = settings.checker()
        memory.grant(share)
        try:
            yield from ((fixture, checker.check(fixture)) for fixture in fixtures)
        finally:
            memory.grant(None)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, begin, (settings, share)) as pool:
        # Large fixtures first, so that none is left for the end.
        ordered = sorted(fixtures, key=weight, reverse=True)
        running = {pool.submit(check_one, fixture): fixture for fixture in ordered}
        yield from ((running[each], each.result()) for each in as_completed(running))


def shared_out(jobs: int, most: int | None) -> tuple[int, int | None]:
    """How many processes to use, and the bytes that each may use for activations.

    Processes that looked at the machine's free memory at the same time would all count on it.
    """
    total = memory.smaller(most, memory.available())
    if total is None or (jobs <= 1 and most is None):
        return jobs, None
    jobs = max(1, min(jobs, total // (2 * PROCESS)))
    return jobs, max(total // max(jobs, 1) - PROCESS, 0)


def weight(fixture: Fixture) -> int:
    """Bytes of a fixture: about how long it takes."""
    return sum(path.stat().st_size for path in fixture.files())


_checker: Checker | None = None
"""The checker of a worker process."""


def begin(settings: CheckSettings, share: int | None) -> None:
    """Start a worker process, which may use `share` bytes for activations."""
    global _checker
    memory.grant(share)
    _checker = settings.checker()


def check_one(fixture: Fixture) -> CheckResult:
    """Check one fixture in a worker process."""
    assert _checker is not None
    return _checker.check(fixture)


def accept(results: Iterable[CheckResult], below: Path) -> list[Path]:
    """Record the errors of what passed; returns the files written."""
    passed = [
        (Path(result.path), result.isolated, result.accumulated)
        for result in results
        if result.status == "pass"
    ]
    return Expectations().update(passed, below if below.is_dir() else below.parent)


def by_severity(results: Iterable[CheckResult]) -> list[CheckResult]:
    """What did not pass, the gravest first: wrong numbers, by how wrong, then what did not run."""
    order = {"fail": 0, "error": 1, "unmapped": 2}
    failed = [result for result in results if result.status in order]
    return sorted(failed, key=lambda each: (order[each.status], -(each.isolated or 0.0)))
