"""`web/`: the port on a page, for any static server and without a network.

    index.html      the page, as it lies beside this file
    port.json       what it must know: inputs, outputs, preset, sizes
    model.tflite    the port, as `tflite` writes it
    example/        an input and the oracle's output, on which the page tries the browser first
    litert/         LiteRT.js: a runtime for WebAssembly and WebGPU (`tools/vendor_litert.py`)

LiteRT.js runs files of fixed sizes only. Of a picture's size that is free the page therefore writes
the extents of its photo into the file before it loads it: `port.json` says at which bytes. The
output's extents are found here, by walking the net with every size of a period. All other nets, and
those that take one size, are written for that size, as WebGPU wants them.

The file is run by ai-edge-litert in a fresh process on the samples that every format is judged on,
and on a picture, of which the page's arithmetic must make what NumPy's makes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.formats import Emitter, ExportJob, ExportResult, size_of
from porter.emit.image_parity import compare_classes, compare_images, oracle, photographs
from porter.emit.image_signature import BEST
from porter.emit.litert import LITERT
from porter.emit.representative import admitted
from porter.emit.subprocess_runner import Named, run_tflite
from porter.emit.tflite import INTERPRETER, converted, traced
from porter.errors import EmitError, UsageError, WalkError
from porter.frontend.walker import Model
from porter.imaging import geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.pixels import RGB, YUV, lost, probabilities, to_images, to_net
from porter.ir.graph import TensorType
from porter.ir.layout import from_torch, image_layout, to_torch
from porter.ir.nested import leaves, map_leaves, named_leaves
from porter.parity.measure import Measure
from porter.system.extras import require
from porter.system.tensorflow import tf

RUNTIME = "litert.tar.xz"
CHECKSUM = "9e1399da5fd828e0eb229687675e762077f51c3b4320cd6a836ffdf4ce388f94"
"""SHA-256 of the packed runtime."""
DTYPES = ("float32", "int32", "uint8")
"""What LiteRT.js knows of tensors."""
PERIOD = 192
"""After so many rows the output grows as before: strides are products of twos and at most a three.

It is also a size that every net takes that works on all sizes (`geometry.LARGE`).
"""


class Web(Emitter):
    """A folder with a page that runs the port in a browser."""

    name = "web"

    def check(self, settings: Mapping[str, Any]) -> None:
        require("ai-edge-litert", "ai_edge_litert", "the format 'web'")

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        if job.image_spec is not None and job.options.data_format != "channels_last":
            raise UsageError(
                "the page of the format 'web' feeds pictures in TensorFlow's order, N×H×W×C",
                received=f"`data_format={job.options.data_format}`",
                hint="leave it out, or leave `web` out of `formats=`",
            )
        target = folder / self.name
        (target / "example").mkdir(parents=True)
        job = for_page(job)
        file = target / "model.tflite"
        file.write_bytes(converted(job, "float32"))
        if job.image_spec is None:
            described, measure, note = numbers_page(job, file)
        else:
            described, measure, note = pictures_page(job, job.image_spec, file)
        text = json.dumps(described, ensure_ascii=False, allow_nan=False)
        (target / "port.json").write_text(text + "\n", encoding="utf-8")
        here = resources.files("porter.emit.web")
        (target / "index.html").write_bytes(here.joinpath("index.html").read_bytes())
        unpack(target / "litert")
        return [ExportResult(self.name, measure, size_of(target), note)]


def for_page(job: ExportJob) -> ExportJob:
    """The job for the sizes that the page feeds: free ones of pictures, all others fixed."""
    fixed, spec = job.fixed, job.image_spec
    if spec is not None:
        (value,) = leaves(job.port.graph.inputs)
        (types,) = leaves(job.types if fixed is None else fixed)
        if fixed is not None or None not in value.type.shape[2:]:
            fixed = TensorType((1, *types.static[1:]))
            spec = spec.for_size(fixed.static[2:])
        if value.type.shape[0] not in (None, 1):
            raise EmitError(
                "the page shows one picture at a time",
                received=f"a net that takes {value.type}",
                hint="leave `web` out of `formats=`",
            )
    elif fixed is None:
        fixed = types_of_sample(job)
    job = replace(job, fixed=fixed, image_spec=spec)
    port = traced(job, LITERT)
    port = replace(port, serve=for_litert_js(port.serve, joined=fixed is None))
    fitting = tuple(
        replace(each, inputs=in_32_bits(each.inputs))
        for each in job.checks
        if admitted(port, each.inputs)
    )
    return replace(job, port=port, checks=fitting)


def for_litert_js(serve: Any, joined: bool) -> Any:
    """The function with indices in 32 bits, and with an empty tensor `joined` to each output.

    LiteRT.js knows no integers of 64 bits. And it returns zeros for an output whose size the last
    operation finds when it runs (a reshape, a slice): a concatenation knows it beforehand.
    """
    specs = serve.structured_input_signature[0]

    def narrowed(tensor: Any) -> Any:
        return tf.cast(tensor, tf.int32) if tensor.dtype == tf.int64 else tensor

    def settled(tensor: Any, name: str) -> Any:
        rank = len(tensor.shape)
        if joined and rank:
            empty = tf.slice(tensor, [0] * rank, [0, *[-1] * (rank - 1)])
            tensor = tf.concat([tensor, empty], 0)
        return tf.identity(tensor, name=name)

    def run(*tensors: Any) -> dict[str, Any]:
        fed = (tf.cast(each, spec.dtype) for each, spec in zip(tensors, specs, strict=True))
        return {name: settled(narrowed(each), name) for name, each in serve(*fed).items()}

    signature = [
        tf.TensorSpec(spec.shape, tf.int32 if spec.dtype == tf.int64 else spec.dtype, spec.name)
        for spec in specs
    ]
    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


def in_32_bits(sample: Named) -> Named:
    """Tensors as `for_litert_js` takes them."""
    return {
        name: array.astype(np.int32) if array.dtype == np.int64 else array
        for name, array in sample.items()
    }


def types_of_sample(job: ExportJob) -> Any:
    """The types of the first verification input, nested as the net takes them."""
    stored = job.checks[0].inputs
    named = iter(named_leaves(job.port.graph.inputs, "input"))

    def one(value: Any) -> TensorType:
        name, _ = next(named)
        order = image_layout(value.type.rank, job.options.data_format).order
        sizes = dict(zip(order, stored[name].shape, strict=True))
        return TensorType(tuple(sizes[axis] for axis in range(value.type.rank)), value.dtype)

    return map_leaves(one, job.port.graph.inputs)


# Pages --------------------------------------------------------------------------------------------


def numbers_page(job: ExportJob, file: Path) -> tuple[dict[str, Any], Measure, str]:
    """`port.json`, the worst error and a note; the first sample becomes the example."""
    outputs = run_tflite(file, [check.inputs for check in job.checks], INTERPRETER)
    measure = job.compare(outputs)
    if measure.problem:  # the gate refuses it
        return {}, measure, measure.problem
    sample, expected = job.checks[0], {}
    named = named_leaves(job.port.graph.outputs, "output")
    for (name, value), array in zip(named, sample.expected, strict=True):
        layout, computed = image_layout(value.type.rank, job.options.data_format), outputs[0][name]
        # Torch's View drops a batch of one; the port keeps it.
        whole = array.reshape(to_torch(computed, layout).shape).astype(computed.dtype)
        expected[name] = from_torch(whole, layout)
    described = {"tensors": tensors(file.read_bytes(), sample.inputs, expected)}
    keep(file.parent / "example", sample.inputs, "input")
    keep(file.parent / "example", expected, "output")
    (first, *others) = leaves(job.port.graph.inputs)
    photos = not others and first.type.rank == 4 and first.type.shape[1] in (1, 3)
    note = "numbers in, numbers out" + ("; a preset makes it a page for photos" if photos else "")
    return described, measure, note


def pictures_page(
    job: ExportJob, spec: ImageSpec, file: Path
) -> tuple[dict[str, Any], Measure, str]:
    """The same of a net that takes pictures: the example is one, and the oracle's result."""
    photo = photographs(job)[:1]
    ((name, _),) = named_leaves(job.port.graph.inputs, "input")
    fed = {name: to_net(photo, spec)}
    samples = [check.inputs for check in job.checks]
    *outputs, result = run_tflite(file, [*samples, fed], INTERPRETER)
    expected, (computed,) = oracle(job, photo, spec), result.values()
    if spec.classifies:
        best = probabilities(expected, spec)
        chances = probabilities(computed, spec)
        classes = np.argsort(-chances, axis=-1)[:, :BEST]
        shown = {"classes": classes, "probabilities": np.take_along_axis(chances, classes, -1)}
        note = compare_classes(shown, best)
    else:
        best = to_images(expected, photo, spec)
        note = compare_images(to_images(computed, photo, spec), best)
    keep(file.parent / "example", {name: photo}, "input")
    keep(file.parent / "example", {"output": best}, "output")
    least = job.port.least.get(0, {})
    described = {
        "tensors": tensors(file.read_bytes(), fed, result),
        "pictures": {
            "preset": spec.preset.json(),
            "geometry": asdict(spec.geometry),
            "softmax": spec.softmax,
            "lost": lost(spec.preset, spec.geometry),
            "least": [least.get(axis, 1) for axis in (2, 3)],
            "extents": None if spec.classifies else extents(job.model, spec),
            "yuv": YUV.tolist(),
            "rgb": RGB.tolist(),
        },
    }
    return described, job.compare(outputs), note


def extents(model: Model, spec: ImageSpec) -> dict[str, Any] | None:
    """The output's rows and columns for every size of a period; None for a net of one size.

    Raises EmitError for nets whose output does not grow evenly from one period to the next.
    """
    if spec.geometry.size is not None:
        return None
    step, scale, planes = spec.geometry.multiple, spec.geometry.scale, spec.preset.input.planes
    period = math.lcm(PERIOD, step)
    sizes = range(period, 2 * period, step)

    def measured(size: int) -> tuple[int, ...]:
        graph = model.walk(geometry.image(planes, size, size))
        picture = geometry.output_image(graph)
        assert picture is not None
        return picture.type.static[2:]

    try:
        found = [measured(size) for size in sizes]
        for index in {0, len(sizes) // 2, len(sizes) - 1}:
            grown = tuple(n + scale * period for n in found[index])
            if measured(sizes[index] + period) != grown:
                raise EmitError(
                    "the page cannot tell the size of the net's pictures for every photo",
                    hint="name one size with `input_shapes=`",
                )
    except WalkError as error:
        raise EmitError(
            "the page cannot tell the size of the net's pictures for every photo",
            received=str(error),
            hint="name one size with `input_shapes=`",
        ) from error
    rows, columns = (list(each) for each in zip(*found, strict=True))
    return {"first": period, "step": step, "rows": rows, "columns": columns}


def keep(folder: Path, arrays: Named, name: str) -> None:
    """Arrays as `name_1.npy` and so on: their own names may be no names of files."""
    for number, array in enumerate(arrays.values(), start=1):
        np.save(folder / f"{name}_{number}.npy", np.ascontiguousarray(array), allow_pickle=False)


# The file -----------------------------------------------------------------------------------------


def tensors(content: bytes, inputs: Named, outputs: Named) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs in the order of `example/`: name, type, shape, and where that is written.

    Raises EmitError for what LiteRT.js cannot be fed.
    """
    places = dict(shape_places(content))
    described: dict[str, list[dict[str, Any]]] = {}
    for side, arrays in (("inputs", inputs), ("outputs", outputs)):
        described[side] = []
        for name, array in arrays.items():
            if array.dtype.name not in DTYPES:
                raise EmitError(
                    f"LiteRT.js has tensors of {', '.join(DTYPES)} only",
                    received=f"{name} of {array.dtype.name}",
                    hint="leave `web` out of `formats=`",
                )
            described[side].append(
                {
                    "name": name,
                    "dtype": array.dtype.name,
                    "shape": list(array.shape),
                    "places": places[side[:-1], name, array.ndim],
                }
            )
    return described


def shape_places(content: bytes) -> Iterator[tuple[tuple[str, str, int], list[int]]]:
    """Of every input and output, by name and rank: the bytes at which its shape is written.

    That is its shape, and the same with −1 for sizes that are free where there are any. Fields of
    `Tensor` in LiteRT's schema.fbs: 4 is `shape`, 18 is `shape_signature`.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    signature, graph = model.SignatureDefs(0), model.Subgraphs(0)
    for side, count, item in (
        ("input", signature.InputsLength(), signature.Inputs),
        ("output", signature.OutputsLength(), signature.Outputs),
    ):
        for index in range(count):
            entry = item(index)
            table = graph.Tensors(entry.TensorIndex())._tab
            vectors = [offset for offset in map(table.Offset, (4, 18)) if offset]
            ranks = {table.VectorLen(offset) for offset in vectors}
            key = (side, entry.Name().decode(), max(ranks, default=0))
            yield key, [table.Vector(offset) for offset in vectors]


def unpack(folder: Path) -> None:
    """Write LiteRT.js. Raises EmitError where the installed archive is damaged."""
    here = resources.files("porter.emit.web")
    content = here.joinpath(RUNTIME).read_bytes()
    received = hashlib.sha256(content).hexdigest()
    if received != CHECKSUM:
        raise EmitError(
            f"{RUNTIME}, which is installed with porter, is damaged",
            received=f"SHA-256 {received} instead of {CHECKSUM}",
            hint="install porter again",
        )
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in archive.getnames():
            member = archive.extractfile(name)
            assert member is not None
            (folder / name).write_bytes(member.read())
    (folder / "LICENSE").write_bytes(here.joinpath("litert.LICENSE").read_bytes())


FORMAT = Web()
