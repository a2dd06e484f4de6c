"""`model.mlpackage`: an ML program for Apple's systems, made by coremltools.

Core ML runs there only, and coremltools has no interpreter. The package is therefore **not run**:
it is read again in a fresh process, inputs and outputs must have the port's names and sizes, and
every weight of a convolution, a linear layer or a table must be there bit by bit, in whatever order
of axes. `saved_model`, which is compared number by number, holds the same layers.

The layers are those of `frozen`, in float32: as they are, with batch normalisations folded.
coremltools' own foldings, which would compute new weights, are left out. Core ML wants bounds of
free sizes: `LARGEST`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porter.emit.formats import ExportJob, Format
from porter.emit.port import Port, build, stored_shapes
from porter.emit.subprocess_runner import Named, run_in_subprocess
from porter.emit.tflite import sized
from porter.emit.tracing.namespace import Namespace
from porter.errors import EmitError, ParityError
from porter.parity.measure import Measure
from porter.passes.fold import fuse
from porter.runtime.runner import Variables
from porter.system.extras import require
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import tf

FILE = "model.mlpackage"
LARGEST = 4096
"""The largest extent of an axis that is free."""
FOLDING = ("common::fuse_conv_batchnorm", "common::fuse_conv_scale")
"""Passes of coremltools that compute new weights."""


class CoreML(Format):
    """An ML program by coremltools, which is compared and not run."""

    name = "coreml"

    def check(self, settings: Mapping[str, Any]) -> None:
        require("coremltools", "coremltools", "the format 'coreml'")

    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        port = traced(job)
        model = converted(port, job)
        path, package = folder / FILE, Path(model.package_path)
        # `save` hides what the disk says, and gives its files to their owner alone.
        for file in sorted(each for each in package.rglob("*") if each.is_file()):
            target = path / file.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        return [path]

    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        (read,) = run_in_subprocess("coreml", folder / FILE, [{"none": np.zeros(1)}])
        port = traced(job)
        require_shapes(port, read)
        count, vectors, kept = compare_weights(port, read)
        return None, (
            f"{count} weights and {kept} of {vectors} vectors read back bit by bit; "
            "not run: Core ML runs on Apple's systems only"
        )


def traced(job: ExportJob) -> Port:
    """The fused port, without assertions, for the sizes that the user fixed."""
    graph = sized(fuse(job.port.graph), job)
    # With a stand-in for `tf` indices are not asserted: coremltools has no assertions.
    return build(graph, Variables(), job.options.plain(), dialect=Namespace({}), least={})


def converted(port: Port, job: ExportJob) -> Any:
    """coremltools' model. Raises EmitError for what it cannot express."""
    coremltools = library()
    pipeline = coremltools.PassPipeline.DEFAULT
    pipeline.remove_passes(FOLDING)
    names = list(port.serve.structured_outputs)
    problem: Exception | None = None
    with quiet():
        try:
            model = coremltools.convert(
                [port.serve],
                source="tensorflow",
                convert_to="mlprogram",
                inputs=list(bounded_inputs(port, job)),
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS16,
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
        except Exception as error:  # coremltools raises whatever it stumbles over
            problem = error
    if problem is not None:
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise EmitError(
            "coremltools cannot express the net in Core ML",
            received=first[:300],
            hint="leave `coreml` out of `formats=`",
        ) from problem
    with quiet():
        specification = model.get_spec()
        described = [each.name for each in specification.description.output]
        for old, name in zip(described, names, strict=True):
            coremltools.utils.rename_feature(specification, old, name)
        about = specification.description.metadata
        about.author = "porter"
        about.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
        return coremltools.models.MLModel(
            specification, weights_dir=model.weights_dir, skip_model_load=True
        )


def library() -> Any:
    """coremltools, whose import tells of parts that only macOS has."""
    with quiet():
        return importlib.import_module("coremltools")


def bounded_inputs(port: Port, job: ExportJob) -> Iterator[Any]:
    """Every input with the bounds of its free sizes."""
    coremltools, sample = library(), job.checks[0].inputs
    described = stored_shapes(port.graph, port.options.data_format)
    for position, spec in enumerate(port.serve.structured_input_signature[0]):
        least = job.port.least.get(position, {})
        shape: list[Any] = []
        for axis, extent in enumerate(spec.shape):
            if extent is not None:
                shape.append(extent)
                continue
            smallest = least.get(described[spec.name]["torch_axes"][axis], 1)
            usual = between(smallest, 1 if axis == 0 else sample[spec.name].shape[axis], LARGEST)
            shape.append(coremltools.RangeDim(smallest, LARGEST, usual))
        dtype = np.int32 if spec.dtype == tf.int64 else spec.dtype.as_numpy_dtype
        yield coremltools.TensorType(spec.name, shape, dtype)


def between(low: int, number: int, high: int) -> int:
    return max(low, min(number, high))


def require_shapes(port: Port, read: Named) -> None:
    """Raise ParityError where an input or output is missing or has another size."""
    for name, described in stored_shapes(port.graph, port.options.data_format).items():
        found = read[f"shape {name}"].tolist() if f"shape {name}" in read else []
        sizes = [-1 if extent is None else extent for extent in described["shape"]]
        pairs = zip(sizes, found, strict=False)
        if len(found) != len(sizes) or any(-1 not in pair and pair[0] != pair[1] for pair in pairs):
            raise ParityError(
                f"the Core ML package has another {name}: nothing was written",
                received=f"{found or 'none'} instead of {sizes}",
            )


def compare_weights(port: Port, read: Named) -> tuple[int, int, int]:
    """How many weights there are, how many vectors, and how many of these are found.

    Raises ParityError for a weight of two axes or more that is not there.
    """
    found = {fingerprint(array) for name, array in read.items() if name.startswith("weight ")}
    weights = vectors = kept = 0
    for variable in port.variables.by_key.values():
        array = variable.numpy()
        if array.ndim < 2:
            vectors += 1
            kept += fingerprint(array) in found
            continue
        weights += 1
        if fingerprint(array) not in found:
            raise ParityError(
                "a weight is missing from the Core ML package: nothing was written",
                where=variable.name.removesuffix(":0"),
                received=f"a package without these {array.size:,} numbers",
                hint="leave `coreml` out of `formats=`",
            )
    return weights, vectors, kept


def fingerprint(array: Any) -> tuple[int, bytes]:
    """The same for the same numbers in whatever order."""
    numbers = np.sort(np.asarray(array, np.float32).ravel().view(np.uint32))
    return len(numbers), hashlib.sha256(numbers.tobytes()).digest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep coremltools from telling of every pass, and of TensorFlows that it has not seen."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


FORMAT = CoreML()
