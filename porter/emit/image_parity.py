"""Prove the signature `image`: 8-bit pictures of the reloaded model against NumPy's.

The oracle is the arithmetic of `pixels.py` around porter's NumPy reference of the net. A level may
differ by one, where rounding to float32 moved a number over the middle between two levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from porter.emit.formats import ExportJob
from porter.emit.image_signature import NAME
from porter.errors import ParityError
from porter.frontend.inputs import types_of
from porter.imaging.image_spec import ImageSpec
from porter.imaging.pixels import probabilities, to_images, to_net
from porter.ir.nested import leaves
from porter.parity import compare as parity
from porter.runtime import reference

Array = npt.NDArray[Any]

SIDES = (48, 61)
"""Height and width of the pictures where the net leaves them open: one of them odd."""
MAX_LEVELS = 1
MAX_PROBABILITY = 1e-4


def photographs(job: ExportJob, seed: int = 1) -> Array:
    """Seeded 8-bit pictures of a size that the signature takes: noise over a gradient."""
    (value,) = leaves(job.port.graph.inputs)
    batch, _, height, width = value.type.shape
    shape = (batch or 2, height or SIDES[0], width or SIDES[1], 3)
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, shape[2])[None, None, :, None]
    pictures: Array = (slope + random.uniform(0, 56, shape)).astype(np.uint8)
    return pictures


def judge(
    job: ExportJob, spec: ImageSpec, photos: Array, outputs: dict[str, Array], exact: bool = True
) -> str:
    """The verdict on the reloaded signature's outputs for `photos`. Raises ParityError.

    Where a port is not meant to be `exact` it only says how far the images are apart.
    """
    expected = oracle(job, photos, spec)
    if spec.classifies:
        most = MAX_PROBABILITY if exact else 1.0
        return compare_classes(outputs, probabilities(expected, spec), most)
    levels = MAX_LEVELS if exact else 255
    return compare_images(outputs[NAME], to_images(expected, photos, spec), levels)


def oracle(job: ExportJob, pictures: Array, spec: ImageSpec) -> Array:
    """The NumPy reference's output for the images, as the port stores it (channels last)."""
    fed = to_net(pictures, spec).transpose(0, 3, 1, 2)
    graph = job.model.walk(types_of(np.ascontiguousarray(fed)))
    values = reference.outputs(graph, parity.bind(graph.inputs, fed))
    (output,) = leaves(graph.outputs)
    result: Array = np.asarray(values[output.id], np.float32)
    (stored,) = leaves(job.port.graph.outputs)
    if result.ndim < stored.type.rank:  # Torch's View drops a batch of one
        result = result[None]
    return result.transpose(0, 2, 3, 1) if result.ndim == 4 else result


def compare_images(pictures: Array, expected: Array, most: int = MAX_LEVELS) -> str:
    """The share of levels that differ. Raises ParityError where one differs by more than `most`."""
    if pictures.shape != expected.shape:
        raise ParityError(
            "the reloaded model makes pictures of another size: nothing was written",
            received=f"{pictures.shape} instead of {expected.shape}",
        )
    apart = np.abs(pictures.astype(int) - expected)
    share = f"{np.count_nonzero(apart) / apart.size:.3%} of {apart.size:,} levels differ"
    if apart.max() > most:
        raise ParityError(
            "the reloaded model makes other pictures than the oracle: nothing was written",
            received=f"{share}, by up to {apart.max()}",
        )
    return f"image: {share}, by at most {apart.max()}" if apart.any() else "image: all levels equal"


def compare_classes(
    outputs: dict[str, Array], expected: Array, most: float = MAX_PROBABILITY
) -> str:
    """The largest difference of probabilities. Raises ParityError where it is more than `most`.

    Classes that are equally probable may stand in any order.
    """
    reported = outputs["probabilities"]
    claimed = np.take_along_axis(expected, outputs["classes"], axis=-1)
    best = -np.sort(-expected, axis=-1)[:, : reported.shape[-1]]
    apart = float(max(np.abs(reported - claimed).max(), np.abs(reported - best).max()))
    if not apart <= most:
        raise ParityError(
            "the reloaded model tells other classes than the oracle: nothing was written",
            received=f"probabilities differ by up to {apart:.1e}",
        )
    return f"image: probabilities differ by at most {apart:.1e}"
