"""Checks of weights before a run, which would otherwise end in a black image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.errors import UsageError, WeightError

Array = npt.NDArray[Any]

BLACK = "with these weights the image comes out black or unchanged: download the file again"
LARGEST = 1e6
"""Features that no picture has: those of VGG, the largest of all, stay below 1e5."""
OTHER_ARCHITECTURE = "the weights are those of another architecture"


def require_filters(name: str, weight: Array, bias: Array | None) -> None:
    """Raise WeightError for what cannot be filters kH×kW×I×O with a bias O, named `name`."""
    shown = "×".join(map(str, weight.shape))
    if weight.ndim != 4:
        raise WeightError("the weights of a convolution have four axes", where=name, received=shown)
    if bias is not None and bias.shape != weight.shape[-1:]:
        raise WeightError(
            f"a bias of {weight.shape[-1]} numbers is needed",
            where=name,
            received="×".join(map(str, bias.shape)),
        )
    for array in (weight, bias):
        if array is not None and array.dtype.kind not in "fiu":
            raise WeightError("the weights are not numbers", where=name, received=str(array.dtype))


def require_sound(name: str | None, weight: Array, bias: Array | None) -> None:
    """Raise WeightError for weights that cannot describe an image: not finite, zero, all alike."""
    for what, array in (("weights", weight), ("bias", bias)):
        if array is not None and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise WeightError(
                f"{count:,} of the {array.size:,} {what} are not finite", where=name, hint=BLACK
            )
    if not weight.any():
        raise WeightError("all weights are zero", where=name, hint=BLACK)
    if weight.size > 1 and weight.min() == weight.max():
        raise WeightError(
            "all weights are the same number", where=name, received=f"{weight.flat[0]}", hint=BLACK
        )


def require_layers(layers: list[str], names: tuple[str, ...], what: str) -> None:
    """Raise UsageError for layers that do not exist, listing those that do."""
    missing = [name for name in layers if name not in names]
    if missing:
        raise UsageError(
            f"{what} has no layer {', '.join(missing)}",
            hint="layers: " + (", ".join(names) or "none"),
        )


def damaged(path: Path, error: Exception, what: str = "file") -> WeightError:
    """The error of a file, or of some part of it, that ends early or whose bytes were changed."""
    return WeightError(
        f"the {what} is truncated or damaged",
        where=path.name,
        received=str(error) or type(error).__name__,
        hint="download it again, and compare the size with the server's",
    )


def digests(path: Path) -> dict[str, str]:
    """sha256 and md5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return {"sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def require_sha256(path: Path, expected: str) -> None:
    """Raise WeightError where a file is not the one that was meant."""
    actual = digests(path)["sha256"]
    if actual != expected.lower():
        raise WeightError(
            "the file is not the one that was asked for",
            where=path.name,
            received=f"sha256 {actual}",
            hint=f"expected {expected.lower()}",
        )


def require_informative(features: Mapping[str, Any], layers: Iterable[str], what: str) -> None:
    """Raise UsageError or WeightError for layers whose features N×h×w×C no picture could have.

    None at all, none that is finite and not zero, or some beyond `LARGEST`.
    """
    from porter.system.tensorflow import tf

    for name in layers:
        shape = tuple(features[name].shape)
        if 0 in shape:
            raise UsageError(
                f"nothing is left of the {what} image at layer {name}",
                received="×".join(map(str, shape)),
                hint="use a larger image, or shallower layers",
            )
        largest = float(tf.reduce_max(tf.abs(features[name])))
        if not np.isfinite(largest):
            raise WeightError(
                f"the features of the {what} image are not finite",
                where=name,
                hint="its weights are damaged, or not meant for these images (`preprocessing=`)",
            )
        if largest == 0:
            raise WeightError(
                f"the descriptor sees nothing in the {what} image: all features are zero",
                where=name,
                hint=BLACK,
            )
        if largest > LARGEST:
            raise WeightError(
                f"the descriptor's features of the {what} image are up to {largest:.1e}",
                where=name,
                hint="pictures are fed in another range than the network was trained with: see "
                "`preprocessing=`",
            )
