"""Photos shared out by Ray Data: actors that come and go, and a block that is lost is run again.

    with cluster("local") as ray:
        for result in stylized(ray, opening, pairs, settings): ...

Every actor opens the net for itself, on one processor, or on one GPU where the cluster has any; Ray
starts more of them while there is work, up to what the cluster holds, and a new one in place of one
that died, with the photos of which nobody heard. A picture appears whole, so that one that is made
twice is the same file. What is done stands in `OUTPUT/ray.jsonl`, written by this process alone.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.errors import EmitError, PorterError, UsageError
from porter.imaging.files import Pair
from porter.system.extras import optional
from porter.system.quiet import quiet_stderr
from porter.system.runtime_errors import cause
from porter.system.threads import TENSORFLOW_THREADS

if TYPE_CHECKING:
    from porter.apps.stylize.arbitrary_style import ArbitraryStyle
    from porter.apps.stylize.stylize import StylizeResult, StylizeSettings
    from porter.imaging.image_spec import ImageSpec

LOCAL = "local"
RECORD = "ray.jsonl"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
BLOCK = 16
"""Photos of a block: what is run again where an actor dies."""
FIRST = 2
"""Actors that begin; a second one of them opens its net while the first does."""
QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True)
class NetOpening:
    """How an actor opens the net: paths and texts alone, which any machine can read."""

    model: Path
    preset: str | None = None
    select: str | None = None
    input_shapes: tuple[str, ...] = ()
    layer_maps: tuple[Path, ...] = ()
    identity: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    bn: Any = "auto"
    seed: int = 1
    trust_code: bool = False
    style: ArbitraryStyle | None = None

    def open(self) -> Any:
        """The net and what its pictures mean. Raises PorterError."""
        from porter.apps.registry import registry_with
        from porter.apps.stylize.loading import LoadOptions, open_net
        from porter.frontend.inputs import parse_shape
        from porter.ir.options import Options

        choices = LoadOptions(
            self.preset,
            self.select,
            tuple(map(parse_shape, self.input_shapes)),
            registry_with(self.layer_maps, self.identity, self.map),
            Options(self.bn, self.seed),
            self.trust_code,
            self.style,
        )
        return open_net(self.model, choices)


class Stylist:
    """An actor: a net that was opened once, and blocks of photos one after the other."""

    def __init__(self, opening: NetOpening, settings: StylizeSettings) -> None:
        os.environ.update(dict.fromkeys(TENSORFLOW_THREADS, "1"))
        self.settings = settings
        self.error: PorterError | None = None
        try:
            self.net, self.spec = opening.open()
        except PorterError as error:  # as a result: Ray would start the actor again and again
            self.error = error

    def __call__(self, block: dict[str, Any]) -> dict[str, list[bytes]]:
        """A block of pairs, pickled, as their results; or the error that ends the run."""
        from porter.apps.stylize.stylize import stylize

        if self.error is not None:
            return {"done": [pickle.dumps(self.error)]}
        pairs = [pickle.loads(each) for each in block["pair"]]
        try:
            done = stylize(self.net, self.spec, pairs, self.settings)
        except PorterError as error:
            return {"done": [pickle.dumps(error)]}
        return {"done": [pickle.dumps((self.spec, result)) for result in done.results]}


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster, or with one of this machine that ends with the block.

    Raises UsageError where there is no cluster at the address.
    """
    if address != LOCAL and (":" not in address and address != "auto"):
        raise UsageError(
            f"'{address}' is no address of a Ray cluster",
            hint="an address is HOST:PORT or auto; without one, `ray=` starts Ray on this machine: "
            "write it behind the pictures",
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = optional("ray", "ray[data]", "`ray=`", "; `shard=I/N` divides photos without it")
    optional("ray.data", "ray[data]", "`ray=`")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    where = {"include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        with quiet_stderr():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UsageError(f"there is no Ray cluster at {address}", received=cause(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def stylized(
    ray: Any, opening: NetOpening, pairs: Sequence[Pair], settings: StylizeSettings
) -> Iterator[tuple[ImageSpec, StylizeResult]]:
    """Each photo's result as it comes, once. Raises what ends the run, as `stylize` does."""
    if not pairs:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.verbose_stats_logs = False
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    blocks = -(-len(pairs) // min(BLOCK, max(1, settings.batch * 2)))
    most = max(1, min(gpus or int(resources.get("CPU", 1)), blocks))
    items = [{"pair": pickle.dumps(absolute(pair))} for pair in pairs]
    rows = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
        Stylist,
        fn_constructor_args=(opening, settings),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=min(FIRST, most), max_size=most),
        **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
    )
    asked = {absolute(pair).target: pair for pair in pairs}
    try:
        for row in rows.iter_rows():
            done = pickle.loads(row["done"])
            if isinstance(done, PorterError):
                raise done
            spec, result = done
            pair = asked.pop(result.target, None)
            if pair is not None:  # else a block came twice
                yield spec, replace(result, source=pair.source, target=pair.target)
    except ray.exceptions.RayError as error:
        raise EmitError(
            f"Ray gave up with {len(asked)} of {len(pairs)} photos to be done",
            received=last_line(error),
            hint="repeat the command: it goes on with them",
        ) from error


def last_line(error: Exception) -> str:
    """What went wrong, behind the traceback of another process, which Ray prints in colours."""
    lines = COLOUR.sub("", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def absolute(pair: Pair) -> Pair:
    """A pair that means the same in the working directory of an actor."""
    strip = None if pair.strip is None else pair.strip.absolute()
    return replace(pair, source=pair.source.absolute(), target=pair.target.absolute(), strip=strip)
