"""Checks of weights before a run, which would otherwise end in a black image."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.errors import UsageError, WeightError

Array = npt.NDArray[Any]

BLACK = "with these weights the image comes out black or unchanged: download the file again"
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
