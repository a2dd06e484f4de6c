"""Lay two sides beside each other, layer by layer: a `.t7` model, a converted folder, a recording.

The first side is the oracle. A model is its own NumPy reference in float64; a port gives its
layers' outputs through its `activations` signature; a recording is what Torch saw. A layer can be
fed alone (isolated) only where the second side is a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from porter import torch7
from porter.errors import UsageError
from porter.frontend.inputs import RequestedShape, samples, types_of
from porter.frontend.model_file import ModelFile, choose
from porter.frontend.module_tree import require_mapped
from porter.frontend.nonfinite import with_nan
from porter.frontend.run_mode import decide
from porter.frontend.search import shapes_for
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.layout import Layout, from_torch, image_layout, to_torch
from porter.ir.nested import Nested, leaves, named_leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.parity import compare as parity
from porter.parity import recording
from porter.parity.compare import Report, Row, Tolerance
from porter.parity.measure import Measure, compare, failed
from porter.parity.recording import Recording, Summary
from porter.runtime import reference
from porter.system import checksums
from porter.torch7.recorder import is_recording


@dataclass(frozen=True)
class PortFolder:
    """A converted folder."""

    folder: Path
    manifest: Mapping[str, Any]


DiffSide = Model | PortFolder | Recording


def open_side(
    path: Path, registry: Registry, options: Options, select: str | None = None
) -> DiffSide:
    """What a path holds. Raises PorterError if it is none of the three."""
    if path.is_dir():
        return open_port(path)
    if path.suffix == ".npz":
        return recording.read(path)
    file = torch7.read(path)
    if is_recording(file.root):
        return recording.from_t7(file.root, str(path))
    opened: ModelFile = choose(file, str(path), registry, select)
    require_mapped(opened.root, registry)
    return Model(opened.root, registry, options)


def open_port(folder: Path) -> PortFolder:
    """A folder that `porter convert` made. Raises UsageError, or Corrupt if it was changed."""
    content = checksums.read_manifest(folder)
    checksums.check(folder, content["files"], below="saved_model")
    return PortFolder(folder, content)


def diff(
    first: DiffSide,
    second: DiffSide,
    tolerance: Tolerance | None = None,
    seed: int = 1,
    input_shapes: tuple[RequestedShape, ...] = (),
) -> Report:
    """Compare the second side with the first, on a recording's input, else on seeded numbers of
    `input_shapes` (Torch's order), else of a shape that a model or port takes."""
    limits = tolerance or Tolerance()
    first, second = in_run_mode(first, second), in_run_mode(second, first)
    arrays = common_input(first, second, seed, input_shapes)
    oracle = first if isinstance(first, Recording) else record(first, arrays)
    oracle_label = oracle_label_of(first)
    if isinstance(second, Model):
        return diff_model(second, oracle, limits, oracle_label)
    if isinstance(second, Recording):
        return lay_beside(oracle, second, limits, oracle_label)
    return lay_beside(oracle, record(second, arrays), limits, oracle_label)


def in_run_mode(side: DiffSide, other: DiffSide) -> DiffSide:
    """A model in the mode in which it is run: that of the other side, where it was recorded."""
    if not isinstance(side, Model):
        return side
    recorded = other.mode if isinstance(other, Recording) else None
    options = decide(side.root, side.options, recorded).options
    return Model(side.root, side.registry, with_nan(side.root, side.registry, options))


def oracle_label_of(side: DiffSide) -> str:
    """What the rows call the oracle."""
    if isinstance(side, Recording):
        return parity.RECORDED
    return parity.REFERENCE if isinstance(side, Model) else "port"


def diff_model(model: Model, oracle: Recording, limits: Tolerance, oracle_label: str) -> Report:
    """A model's layers against the oracle, isolated and accumulated."""
    from porter.runtime.runner import Variables

    assert oracle.input is not None
    variables = {p: Variables(p) for p in ("float32", "float64")}
    report = parity.verify(
        model,
        oracle.input,
        variables,
        oracle,
        label=oracle.source,
        source=oracle_label,
        tolerance=limits,
        deep=False,
    )
    return replace(report, oracle=oracle.source)


def common_input(
    first: DiffSide, second: DiffSide, seed: int, input_shapes: tuple[RequestedShape, ...] = ()
) -> Nested[Array]:
    """A recording's input, or seeded numbers of a shape that a side takes."""
    for side in (first, second):
        if isinstance(side, Recording):
            if side.input is None:
                raise UsageError(f"{side.source} has no `input` to feed the other side")
            return side.input
    for side in (first, second):
        if isinstance(side, Model):
            shapes = shapes_for(side, input_shapes)
            return samples(side, shapes, seed)[0].arrays
    assert isinstance(first, PortFolder)
    return port_sample(first, seed)


def port_sample(port: PortFolder, seed: int) -> Nested[Array]:
    """Seeded numbers for a port's signature; free sizes are chosen small and different."""
    generator = np.random.default_rng(seed)
    arrays: list[Nested[Array]] = []
    for name, described in sorted(port.manifest["signature"].items()):
        if not name.startswith("input"):
            continue
        free = iter((1, 40, 56, 24))
        shape = [next(free) if size is None else size for size in described["torch_shape"]]
        if described["dtype"] == "float32":
            arrays.append(generator.standard_normal(shape).astype(np.float32))
        else:
            arrays.append(np.ones(shape, np.int64))
    return arrays[0] if len(arrays) == 1 else arrays


def record(side: Model | PortFolder, arrays: Nested[Array]) -> Recording:
    """What a side makes of an input, as a recording."""
    return record_model(side, arrays) if isinstance(side, Model) else record_port(side, arrays)


def record_model(model: Model, arrays: Nested[Array]) -> Recording:
    """A model's own reference in NumPy, float64."""
    graph = model.walk(types_of(arrays))
    values = reference.run(graph, parity.bind(graph.inputs, arrays))
    outputs: dict[tuple[str, int], Nested[Array]] = {}
    types: dict[str, str] = {}
    from porter.ir.nested import map_leaves

    for call in graph.calls:
        outputs[call.path, call.count] = map_leaves(lambda v: values[v.id], call.output)
        types[call.path] = call.typename
    final = map_leaves(lambda v: values[v.id], graph.outputs)
    return Recording("model (numpy float64)", arrays, final, outputs, {}, types)


def record_port(port: PortFolder, arrays: Nested[Array]) -> Recording:
    """A port's activations, run in a fresh process."""
    from porter.emit.subprocess_runner import run_saved_model

    signature, data_format = port.manifest["signature"], port.manifest["data_format"]
    inputs = named_leaves(arrays, "input")
    expected = sorted(name for name in signature if name.startswith("input"))
    if [name for name, _ in sorted(inputs)] != expected:
        raise UsageError(
            f"{port.folder} takes {', '.join(expected)}",
            received=", ".join(name for name, _ in inputs),
        )
    stored: dict[str, Array] = {}
    for name, array in inputs:
        torch_shape = signature[name]["torch_shape"]
        if len(torch_shape) != array.ndim or any(
            size not in (None, extent)
            for size, extent in zip(torch_shape, array.shape, strict=True)
        ):
            raise UsageError(
                f"the input does not fit {port.folder}: it takes {torch_shape} (Torch's order)",
                received="×".join(map(str, array.shape)),
            )
        layout = Layout(tuple(signature[name]["torch_axes"]))
        stored[name] = from_torch(array, layout).astype(signature[name]["dtype"])
    (activations,) = run_saved_model(port.folder / "saved_model", [stored], "activations")
    outputs: dict[tuple[str, int], Nested[Array]] = {}
    for name, array in activations.items():
        path, _, count = name.partition("#")
        path = "" if path == "root" else path
        outputs[path, int(count or 1)] = to_torch(array, image_layout(array.ndim, data_format))
    types = port.manifest.get("layers", {})
    return Recording(str(port.folder), arrays, outputs.get(("", 1)), outputs, {}, types)


def lay_beside(
    oracle: Recording, other: Recording, limits: Tolerance, oracle_label: str = parity.RECORDED
) -> Report:
    """Every call that the oracle recorded beside the other side's; rows name the `oracle_label`."""
    rows = [
        Row(
            path,
            oracle.types.get(path) or other.types.get(path, ""),
            "×".join(map(str, leaf.shape)),
            oracle_label,
            accumulated=compare_leaf(leaf, pick(other, path, count, position)),
            count=count,
            tolerance=limits,
        )
        for path, count, position, leaf in oracle_tensors(oracle)
    ]
    if not rows:
        raise UsageError(f"{oracle.source} and {other.source} have no layer to compare")
    return Report(tuple(rows), "recorded input", oracle.source)


def oracle_tensors(oracle: Recording) -> Iterator[tuple[str, int, int, Array | Summary]]:
    """Every tensor that the oracle knows: path, call, position in a table from 1, the tensor."""
    for (path, count), short in oracle.summaries.items():
        for position, summary in enumerate(leaves(short), start=1):
            yield path, count, position, summary
    outputs = dict(oracle.outputs)
    if oracle.output is not None:
        outputs.setdefault(("", 1), oracle.output)
    for (path, count), output in outputs.items():
        for position, array in enumerate(leaves(output), start=1):
            yield path, count, position, array


def compare_leaf(expected: Array | Summary, computed: Array | Summary | None) -> Measure:
    """One tensor, or what a recording kept of it, beside the other side's."""
    if computed is None:
        return failed("the other side has no such layer")
    if isinstance(expected, Summary) or isinstance(computed, Summary):
        return parity.compare_summary(expected, computed)
    return compare(expected, drop_kept_batch(expected, computed))


def pick(side: Recording, path: str, count: int, position: int) -> Array | Summary | None:
    """One tensor of what a side has of a call; ports name table entries path_1, path_2."""
    call = (path, count)
    for known in (side.outputs, side.summaries):
        if call in known:
            flat: list[Any] = list(leaves(known[call]))
            return flat[position - 1] if position <= len(flat) else None
    numbered = side.outputs.get((f"{path or 'root'}_{position}", count))
    return numbered if isinstance(numbered, np.ndarray) else None


def drop_kept_batch(reference_array: Array, computed: Array) -> Array:
    """Torch's View drops a batch of one where the port keeps it; the values are the same."""
    return computed[0] if computed.shape == (1, *reference_array.shape) else computed
