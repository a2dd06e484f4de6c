"""Prove the signature `image`: 8-bit pictures of the reloaded model against NumPy's.

The oracle is the arithmetic of `pixels.py` around porter's NumPy reference of the net. A level may
differ by one, where rounding to float32 moved a number over the middle between two levels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter import parity, reference
from porter.emit.formats import Job
from porter.emit.fresh import run_saved_model
from porter.errors import ParityError
from porter.images.meaning import Meaning
from porter.images.pixels import to_classes, to_net, to_pictures
from porter.images.signature import NAME
from porter.inputs import types_of
from porter.nested import leaves

Array = npt.NDArray[Any]

SIDES = (48, 61)
"""Height and width of the pictures where the net leaves them open: one of them odd."""
MAX_LEVELS = 1
MAX_PROBABILITY = 1e-4


def prove(job: Job, saved_model: Path, seed: int = 1) -> str:
    """Run the reloaded signature on seeded pictures; returns the verdict. Raises ParityError."""
    meaning: Meaning | None = job.pictures
    assert meaning is not None
    pictures = sample(job, seed)
    (made,) = run_saved_model(saved_model, [{NAME: pictures}], NAME)
    wanted = oracle(job, pictures, meaning)
    if meaning.classifies:
        return compare_classes(made, to_classes(wanted, meaning)[1], wanted, meaning)
    return compare_pictures(made[NAME], to_pictures(wanted, pictures, meaning))


def sample(job: Job, seed: int) -> Array:
    """Seeded 8-bit pictures of a size that the signature takes: noise over a gradient."""
    (given,) = leaves(job.port.graph.inputs)
    batch, _, height, width = given.type.shape
    shape = (batch or 2, height or SIDES[0], width or SIDES[1], 3)
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, shape[2])[None, None, :, None]
    pictures: Array = (slope + random.uniform(0, 56, shape)).astype(np.uint8)
    return pictures


def oracle(job: Job, pictures: Array, meaning: Meaning) -> Array:
    """What the NumPy reference makes of the pictures, as the port stores it (channels last)."""
    fed = to_net(pictures, meaning).transpose(0, 3, 1, 2)
    graph = job.model.walk(types_of(np.ascontiguousarray(fed)))
    values = reference.run(graph, parity.bind(graph.inputs, fed))
    (output,) = leaves(graph.outputs)
    made: Array = np.asarray(values[output.id], np.float32)
    return made.transpose(0, 2, 3, 1) if made.ndim == 4 else made


def compare_pictures(made: Array, wanted: Array) -> str:
    """The share of levels that differ. Raises ParityError where one differs by more than one."""
    if made.shape != wanted.shape:
        raise ParityError(
            "the signature `image` makes pictures of another size: nothing was written",
            received=f"{made.shape} instead of {wanted.shape}",
        )
    apart = np.abs(made.astype(int) - wanted)
    share = f"{np.count_nonzero(apart) / apart.size:.3%} of {apart.size:,} levels differ"
    if apart.max() > MAX_LEVELS:
        raise ParityError(
            "the signature `image` makes other pictures than the oracle: nothing was written",
            received=f"{share}, by up to {apart.max()}",
        )
    return f"image: {share}, by at most {MAX_LEVELS}" if apart.any() else "image: all levels equal"


def compare_classes(
    made: dict[str, Array], best: Array, wanted: Array, meaning: Meaning
) -> str:
    """The largest difference of probabilities. Raises ParityError where it is too large."""
    everything = np.zeros_like(wanted.reshape(len(best), -1))
    order, sorted_ones = to_classes(wanted, meaning)
    np.put_along_axis(everything, order, sorted_ones, axis=-1)
    told = np.take_along_axis(everything, made["classes"], axis=-1)
    apart = float(max(np.abs(told - made["probabilities"]).max(), np.abs(told - best).max()))
    if not apart <= MAX_PROBABILITY:
        raise ParityError(
            "the signature `image` tells other classes than the oracle: nothing was written",
            received=f"probabilities differ by up to {apart:.1e}",
        )
    return f"image: probabilities differ by at most {apart:.1e}"
