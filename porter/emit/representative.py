"""Representative inputs, which calibrate the ranges of a network's integers.

    FOLDER     images, encoded for the net as its preset says (`preset=`); where the
               net leaves sizes open, the longer side is scaled to 256 pixels
    FILE.npz   an array for each named input as the signature stores it (N×H×W×C …), samples first

Every other sample calibrates, the others judge the file; a single one does both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from porter.emit.formats import ExportJob
from porter.emit.port import Port
from porter.emit.subprocess_runner import Named
from porter.errors import UsageError
from porter.imaging.files import photos_in
from porter.imaging.photos import read_image, resized
from porter.imaging.pixels import to_net
from porter.ir.fields import Array
from porter.ir.layout import from_torch, image_layout
from porter.ir.nested import named_leaves
from porter.runtime.archive import BROKEN, open_archive
from porter.system.tensorflow import tf

LONGEST = 256


def read(source: Path, job: ExportJob) -> list[Named]:
    """Samples of named, stored inputs. Raises UsageError where they are not the port's."""
    samples = list(pictures(source, job) if source.is_dir() else arrays(source, job.port))
    if not samples:
        raise UsageError(f"{source} holds no sample to calibrate on")
    for sample in samples:
        if not admitted(job.port, sample):
            shown = ", ".join(f"{name} {array.shape}" for name, array in sample.items())
            raise UsageError(
                f"the samples in {source} do not fit the model's inputs",
                received=f"{shown} where the model takes {signature(job.port)}",
            )
    return samples


def halves(samples: list[Named]) -> tuple[list[Named], list[Named]]:
    """What calibrates, and what judges."""
    return samples[::2], samples[1::2] or samples


def arrays(source: Path, port: Port) -> Iterator[Named]:
    """The samples of an .npz, as many at once as the port's batch if that is fixed."""
    names = [name for name, _ in named_leaves(port.graph.inputs, "input")]
    try:
        with open_archive(source) as archive:
            named: Named = {name: archive[name] for name in archive.files}
    except BROKEN as error:
        raise UsageError(f"{source} is no .npz of arrays", received=str(error)) from error
    if sorted(named) != sorted(names) or len({len(array) for array in named.values()}) != 1:
        raise UsageError(
            f"{source} should hold one array for each input, all with as many samples",
            received=", ".join(f"{name} {array.shape}" for name, array in named.items()),
            hint=f"inputs: {signature(port)}",
        )
    batch = batch_of(port)
    kinds = {s.name: s.dtype.as_numpy_dtype for s in port.serve.structured_input_signature[0]}
    for start in range(0, len(named[names[0]]) - batch + 1, batch):
        rows = slice(start, start + batch)
        yield {name: named[name][rows].astype(kinds[name]) for name in names}


def batch_of(port: Port) -> int:
    """How many samples the port takes at once; 1 where it takes any number."""
    specs = port.serve.structured_input_signature[0]
    return specs[0].shape[0] or 1


def pictures(folder: Path, job: ExportJob) -> Iterator[Named]:
    """Every picture of a folder as the net's numbers."""
    if job.image_spec is None:
        raise UsageError(
            "what pictures mean to this net is not known",
            hint="name a `preset=`, or give `representative=` an .npz of the net's own numbers",
        )
    ((name, value),) = named_leaves(job.port.graph.inputs, "input")
    height, width = value.type.shape[-2:]
    for path in photos_in(folder):
        photo = read_image(path, LONGEST)
        photo = resized(photo, height or photo.size[0], width or photo.size[1])
        fed = to_net(photo.pixels[None], job.image_spec)
        yield {name: from_torch(np.moveaxis(fed, -1, 1), image_layout(4, job.options.data_format))}


def on_port(port: Port, samples: list[Named]) -> list[Named]:
    """The float outputs, as stored."""
    return [
        {name: tensor.numpy() for name, tensor in port.serve(**tensors(sample)).items()}
        for sample in samples
    ]


def tensors(sample: Named) -> dict[str, Array]:
    return {name: tf.constant(array) for name, array in sample.items()}


def admitted(port: Port, sample: Named) -> bool:
    """Whether a traced port takes stored inputs of these sizes."""
    specs = {spec.name: spec for spec in port.serve.structured_input_signature[0]}
    return sample.keys() == specs.keys() and all(
        spec.shape.is_compatible_with(sample[name].shape) for name, spec in specs.items()
    )


def signature(port: Port) -> str:
    """Names and stored shapes of the inputs, for people."""
    return ", ".join(
        f"{spec.name} {'×'.join('?' if size is None else str(size) for size in spec.shape)}"
        for spec in port.serve.structured_input_signature[0]
    )
