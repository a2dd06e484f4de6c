"""VGG as MatConvNet keeps it: `imagenet-vgg-verydeep-19.mat`, of both of its layouts.

    layers{1}.name, .weights = {filters, biases}    today; the mean under meta.normalization
    layers{1}.name, .filters, .biases               at first; the mean under normalization

Filters are kH×kW×I×O, want RGB, and are correlated (matconvnet/utils/import-caffe.py, vl_nnconv).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.checks import damaged
from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.module_source import Load, ModuleSource
from porter.apps.transfer.sources.vgg import place, title, vgg
from porter.errors import WeightError
from porter.imaging.presets import PixelEncoding
from porter.runtime import memory
from porter.system.extras import optional

Array = npt.NDArray[Any]
HEADER = 128
COMPRESSED = 15
"""miCOMPRESSED, a zlib stream (MAT-File Format, "Data Types")."""
BLOCK = 1 << 20
BROKEN = (ValueError, TypeError, OSError, KeyError, IndexError, NotImplementedError, zlib.error)
"""What SciPy and zlib raise for damaged files."""


def open_mat(path: Path, opening: Opening) -> ModuleSource:
    """Raises UsageError without SciPy, WeightError for other files, UnsafeFile, OutOfMemory."""
    loadmat = optional("scipy.io", "scipy", "a file of MATLAB").loadmat
    try:
        memory.require_unpacked(unpacked_size(path), path.stat().st_size, path.name)
        content = loadmat(
            path, simplify_cells=True, variable_names=["layers", "meta", "normalization"]
        )
    except BROKEN as error:
        raise damaged(path, error) from error
    layers = content.get("layers")
    named = {
        str(layer.get("name")): arrays
        for layer in (layers if isinstance(layers, np.ndarray | list) else [])
        if isinstance(layer, Mapping) and (arrays := arrays_of(layer)) is not None
    }
    loads: dict[tuple[int, int], Load] = {
        at: lambda arrays=arrays: arrays  # type: ignore[misc]
        for name, arrays in named.items()
        if (at := place(name)) is not None
    }
    if (1, 1) not in loads:
        raise WeightError(
            "no layer conv1_1: this is not a VGG of MatConvNet's",
            where=path.name,
            received=", ".join(list(named)[:8]) or "no layers with weights",
        )
    return vgg(loads, f"{title(list(loads))} of MatConvNet", encoding(content))


def unpacked_size(path: Path) -> int:
    """Bytes of all values once they are inflated. Raises ValueError, zlib.error."""
    total = 0
    with path.open("rb") as file:
        order = {b"IM": "little", b"MI": "big"}.get(file.read(HEADER)[-2:])
        if order is None:
            raise ValueError("no MAT-file of level 5")
        while len(tag := file.read(8)) == 8:
            kind, size = (int.from_bytes(part, order) for part in (tag[:4], tag[4:]))  # type: ignore[arg-type]
            end = file.tell() + size
            total += size if kind != COMPRESSED else inflated(file, size)
            file.seek(end)
    return total


def inflated(file: Any, size: int) -> int:
    """Length of a zlib stream of `size` bytes, which is inflated block by block."""
    stream, total = zlib.decompressobj(), 0
    while size > 0 and (block := file.read(min(size, BLOCK))):
        size -= len(block)
        while block:
            total += len(stream.decompress(block, BLOCK))
            block = stream.unconsumed_tail
    return total


def arrays_of(layer: Mapping[str, Any]) -> tuple[Array, Array | None] | None:
    """Filters and bias of a layer, None where it has none."""
    weights = layer.get("weights")
    if weights is None or len(weights) == 0:
        weights = [layer.get("filters"), layer.get("biases")]
    filters, bias = (*weights, None)[:2]
    if not isinstance(filters, np.ndarray) or filters.ndim != 4:
        return None
    return filters, None if bias is None else np.asarray(bias).reshape(-1)


def encoding(content: Mapping[str, Any]) -> PixelEncoding:
    """RGB in 0…255 less the file's mean, an image or one number a channel."""
    meta = content.get("meta")
    nested = meta.get("normalization") if isinstance(meta, Mapping) else None
    table = nested or content.get("normalization")
    mean = table.get("averageImage") if isinstance(table, Mapping) else None
    array = np.asarray(mean if mean is not None else [], np.float64)
    if array.size == 0 or array.shape[-1:] != (3,) or not np.isfinite(array).all():
        raise WeightError("the file does not say the mean of its images", hint="download it again")
    red, green, blue = array.reshape(-1, 3).mean(axis=0)
    return PixelEncoding("RGB", (0.0, 255.0), (float(red), float(green), float(blue)))
