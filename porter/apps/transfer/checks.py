"""Whether weights can describe a picture: looked at before a run, not after a black picture."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.errors import PorterError, UsageError

Array = npt.NDArray[Any]

BLACK = "with these weights the picture comes out black or unchanged: load the file anew"


class WeightError(PorterError):
    """A weight file that no descriptor can be made of; the message says what the file is."""

    exit_code = 3


def require_sound(
    name: str, weight: Array, bias: Array | None, planes: int | None, groups: int = 1
) -> None:
    """Raise WeightError for filters HWIO (and a bias O) that cannot be `name`'s.

    `planes` is what the layer before makes, None where that is not known.
    """
    shown = "×".join(map(str, weight.shape))
    if weight.ndim != 4:
        raise WeightError("the weights of a convolution have four axes", where=name, received=shown)
    if planes is not None and weight.shape[2] * groups != planes:
        raise WeightError(
            f"the layer before makes {planes} planes, these weights are for "
            f"{weight.shape[2] * groups}",
            where=name,
            received=f"{shown} (height×width×in×out)",
            hint="the weights are those of another architecture",
        )
    if bias is not None and bias.shape != weight.shape[-1:]:
        raise WeightError(
            f"a bias of {weight.shape[-1]} numbers is needed",
            where=name,
            received="×".join(map(str, bias.shape)),
        )
    for what, array in (("weights", weight), ("bias", bias)):
        if array is not None and not np.isfinite(array).all():
            wrong = int((~np.isfinite(array)).sum())
            raise WeightError(
                f"{wrong:,} of the {array.size:,} {what} are not finite", where=name, hint=BLACK
            )
    if not weight.any():
        raise WeightError("all weights are zero", where=name, hint=BLACK)
    if weight.size > 1 and weight.min() == weight.max():
        raise WeightError(
            "all weights are the same number", where=name, received=f"{weight.flat[0]}", hint=BLACK
        )


def require_layers(wanted: list[str], names: tuple[str, ...], what: str) -> None:
    """Raise UsageError for layers that do not exist, listing those that do."""
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UsageError(
            f"{what} has no layer {', '.join(missing)}",
            hint="layers: " + (", ".join(names) or "none"),
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
    found = digests(path)["sha256"]
    if found != expected.lower():
        raise WeightError(
            "the file is not the one that was asked for",
            where=path.name,
            received=f"sha256 {found}",
            hint=f"expected {expected.lower()}",
        )
