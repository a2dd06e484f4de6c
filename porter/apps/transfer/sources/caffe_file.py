"""Caffe's networks: a `.caffemodel`, with the prototxt that says how its layers are joined.

The layers of the prototxt (`prototxt=`, else one of the same name beside the weights, else what
the `.caffemodel` says itself) get their weights by name. Layers that overwrite their input
(`bottom` equal to `top`) have features of their own: `conv1_1` is the convolution's output,
`relu1_1` the rectifier's.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.checks import WeightError
from porter.apps.transfer.network import (
    INPUT,
    Concat,
    Convolution,
    Layer,
    Load,
    Network,
    Operation,
    Pool,
    Rectifier,
    ResponseNorm,
    Unsupported,
)
from porter.apps.transfer.sources.caffe_schema import TYPE_NAMES, V1_TYPES, messages
from porter.apps.transfer.sources.network_source import NetworkSource
from porter.apps.transfer.sources.wire import Malformed, Piece, pieces
from porter.errors import UsageError
from porter.imaging.presets import VGG

if TYPE_CHECKING:
    from porter.apps.transfer.descriptor import Opening

Array = npt.NDArray[Any]

V1, TODAY = 2, 100
"""Fields of NetParameter that hold layers of 2014 and of today."""
BLOBS = {V1: 6, TODAY: 7}
MESSAGE = {V1: "V1LayerParameter", TODAY: "LayerParameter"}
HANDED_ON = ("Dropout", "Split")
TRAINING_ONLY = ("Data", "ImageData", "HDF5Data", "Input", "SoftmaxWithLoss", "Accuracy", "Silence")
KINDS = {5: "<f4", 8: "<f8"}
"""Fields of BlobProto that hold numbers."""


@dataclass(frozen=True)
class Saved:
    """A layer of a file: what protobuf made of all but its weights, and where those are."""

    message: Any
    blobs: tuple[tuple[int, int], ...]

    @property
    def type(self) -> str:
        return type_of(self.message)


def open_caffe(path: Path, opening: Opening) -> NetworkSource:
    """A `.caffemodel`, or a prototxt beside one. Raises WeightError."""
    weights = path.with_suffix(".caffemodel")
    if path.suffix == ".prototxt":
        if not weights.is_file():
            raise WeightError(
                "a prototxt says how layers are joined and holds no weights",
                where=path.name,
                hint=f"give the .caffemodel, with `prototxt={path.name}`",
            )
        path, opening = weights, type(opening)(path, opening.select)
    data = mapped(path)
    saved = {layer.message.name: layer for layer in layers_of(data, path)}
    if not saved:
        raise WeightError("no layers: this is no .caffemodel", where=path.name)
    prototxt = opening.prototxt or beside(path)
    described = read_prototxt(prototxt) if prototxt else [each.message for each in saved.values()]
    convolutions = [each for each in saved.values() if each.type == "Convolution" and each.blobs]
    if not convolutions:
        raise WeightError(
            "the file holds no convolutions with weights: fully-connected layers only, or none",
            where=path.name,
            received=", ".join(f"{n} ({each.type})" for n, each in list(saved.items())[:8]),
        )
    network = joined(described, saved, data)
    count = len(convolutions)
    return NetworkSource(network, f"Caffe's network of {count} convolutions", VGG)


def mapped(path: Path) -> memoryview:
    """A file's bytes, which stay on the disk until they are read."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def beside(path: Path) -> Path | None:
    """A prototxt that is called like the weights."""
    for name in (f"{path.stem}.prototxt", f"{path.stem}_deploy.prototxt"):
        if path.with_name(name).is_file():
            return path.with_name(name)
    return None


def layers_of(data: memoryview, path: Path) -> Iterator[Saved]:
    """The layers of a `.caffemodel`, their weights left where they are. Raises WeightError."""
    from google.protobuf.message import DecodeError

    try:
        for piece in pieces(data, 0, len(data)):
            if piece.number in MESSAGE and piece.wire == 2:
                yield layer_of(data, piece)
    except (Malformed, DecodeError) as error:
        raise WeightError(
            "the file is truncated, or no .caffemodel",
            where=path.name,
            received=str(error),
            hint="download it again, and compare the size with the server's",
        ) from error


def layer_of(data: memoryview, piece: Piece) -> Saved:
    """One layer."""
    rest, blobs = bytearray(), []
    for inner in pieces(data, piece.value, piece.end):
        if inner.number == BLOBS[piece.number]:
            blobs.append((inner.value, inner.end))
        else:
            rest += data[inner.start : inner.end]
    message = messages()[MESSAGE[piece.number]].FromString(bytes(rest))
    return Saved(message, tuple(blobs))


def read_prototxt(path: Path) -> list[Any]:
    """The layers that a prototxt describes, without those of training. Raises WeightError."""
    from google.protobuf import text_format

    net = messages()["NetParameter"]()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), net, allow_unknown_field=True)
    except FileNotFoundError as error:
        raise UsageError(f"there is no prototxt '{path}'") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise WeightError(
            "this is no prototxt", where=path.name, received=str(error).splitlines()[0]
        ) from error
    layers = [*net.layers, *net.layer]
    if not layers:
        raise WeightError("the prototxt describes no layers", where=path.name)
    return layers


def type_of(message: Any) -> str:
    """Today's name of a layer's type."""
    kind: str | int = message.type
    name = kind if isinstance(kind, str) else V1_TYPES[kind]
    return TYPE_NAMES.get(name, name)


def joined(described: list[Any], saved: dict[str, Saved], data: memoryview) -> Network:
    """The network; whatever reads something unsupported is unsupported too."""
    layers: list[Layer] = []
    makers: dict[str, str] = {}
    beyond: set[str] = set()
    for message in described:
        kind, tops = type_of(message), list(message.top)
        if kind in TRAINING_ONLY or not message.bottom:
            makers.update(dict.fromkeys(tops, INPUT))
            continue
        if [rule.phase for rule in message.include] == [0]:
            continue
        inputs = tuple(makers.get(bottom, INPUT) for bottom in message.bottom)
        if kind in HANDED_ON:
            makers.update(dict.fromkeys(tops, inputs[0]))
            continue
        operation = operation_of(message, kind, saved, data)
        if beyond & set(inputs):
            operation = Unsupported("it reads a layer that is not supported")
        if isinstance(operation, Unsupported):
            beyond.add(message.name)
        layers.append(Layer(message.name, operation, inputs))
        makers.update(dict.fromkeys(tops, message.name))
    return Network(tuple(layers))


def operation_of(message: Any, kind: str, saved: dict[str, Saved], data: memoryview) -> Operation:
    """What a layer computes."""
    if kind == "Convolution":
        chosen = message.convolution_param
        kernel, stride = pair(chosen, "kernel_size", "kernel"), pair(chosen, "stride", "stride", 1)
        if pair(chosen, "dilation", "dilation", 1) != (1, 1):
            return Unsupported("dilated convolutions")
        load = loader(message, kernel, saved, data)
        return Convolution(load, stride, pair(chosen, "pad", "pad"), chosen.group or 1)
    if kind == "ReLU":
        return Rectifier(float(message.relu_param.negative_slope))
    if kind == "Pooling":
        chosen = message.pooling_param
        if chosen.global_pooling or chosen.pool == 2:
            return Unsupported("global and stochastic pooling")
        return Pool(
            "average" if chosen.pool == 1 else "max",
            pair(chosen, "kernel_size", "kernel"),
            pair(chosen, "stride", "stride", 1),
            pair(chosen, "pad", "pad"),
            ceil=chosen.round_mode == 0,
        )
    if kind == "LRN" and message.lrn_param.norm_region == 0:
        chosen = message.lrn_param
        return ResponseNorm(
            chosen.local_size if chosen.HasField("local_size") else 5,
            chosen.alpha if chosen.HasField("alpha") else 1.0,
            chosen.beta if chosen.HasField("beta") else 0.75,
            chosen.k if chosen.HasField("k") else 1.0,
        )
    if kind == "Concat":
        return Concat()
    return Unsupported(f"layers of type {kind} are not run here")


def pair(chosen: Any, both: str, each: str, default: int = 0) -> tuple[int, int]:
    """Height and width of a size that may be given once, twice or by axis."""
    known = {name.name for name in chosen.DESCRIPTOR.fields}
    if f"{each}_h" in known and (chosen.HasField(f"{each}_h") or chosen.HasField(f"{each}_w")):
        return getattr(chosen, f"{each}_h"), getattr(chosen, f"{each}_w")
    value = getattr(chosen, both)
    if isinstance(value, int):
        return (value, value) if chosen.HasField(both) else (default, default)
    return (int(value[0]), int(value[-1])) if value else (default, default)


def loader(
    message: Any, kernel: tuple[int, int], saved: dict[str, Saved], data: memoryview
) -> Load:
    """Filters HWIO and bias of a convolution, read when they are asked for."""
    name, chosen = message.name, message.convolution_param

    def load() -> tuple[Array, Array | None]:
        layer = saved.get(name)
        if layer is None or not layer.blobs:
            others = [n for n, each in saved.items() if each.type == "Convolution" and each.blobs]
            raise WeightError(
                "the .caffemodel holds no weights of this layer of the prototxt",
                where=name,
                received="convolutions with weights: " + ", ".join(others[:8]),
                hint="the prototxt is that of another architecture",
            )
        weight = read_blob(data, *layer.blobs[0], name)
        planes = weight.size // (chosen.num_output * kernel[0] * kernel[1] or 1)
        shape = (chosen.num_output, planes, *kernel)
        if weight.size != math.prod(shape) or (weight.ndim == 4 and weight.shape != shape):
            raise WeightError(
                "the weights are not those of the prototxt's layer",
                where=name,
                received=f"{'×'.join(map(str, weight.shape))} where {'×'.join(map(str, shape))} "
                "is described",
                hint="the prototxt is that of another architecture",
            )
        bias = read_blob(data, *layer.blobs[1], name).reshape(-1) if len(layer.blobs) > 1 else None
        return weight.reshape(shape).transpose(2, 3, 1, 0), bias

    return load


def read_blob(data: memoryview, start: int, end: int, name: str) -> Array:
    """The numbers of a BlobProto, in its shape. Raises WeightError."""
    from google.protobuf.message import DecodeError

    try:
        return blob(data, start, end)
    except (ValueError, DecodeError, OverflowError) as error:
        raise WeightError(
            "the weights are damaged", where=name, received=str(error), hint="download it again"
        ) from error


def blob(data: memoryview, start: int, end: int) -> Array:
    """The same; raises ValueError or DecodeError."""
    rest, runs = bytearray(), []
    for piece in pieces(data, start, end):
        if piece.number in KINDS and piece.wire == 2:
            runs.append(np.frombuffer(data[piece.value : piece.end], KINDS[piece.number]))
        elif piece.number != 6:
            rest += data[piece.start : piece.end]
    message = messages()["BlobProto"].FromString(bytes(rest))
    numbers = np.concatenate(runs) if runs else np.array(message.data, np.float32)
    legacy = (message.num, message.channels, message.height, message.width)
    shape = tuple(message.shape.dim) if message.HasField("shape") else legacy
    if math.prod(shape) != numbers.size or min(shape, default=1) < 0:
        raise ValueError(f"{numbers.size:,} numbers for a shape of {'×'.join(map(str, shape))}")
    return numbers.reshape(shape)
