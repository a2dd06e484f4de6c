"""Reads `.caffemodel` and prototxt files: layers as protobuf messages, their weights on demand."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.sources.caffe_schema import TYPE_NAMES, V1_TYPES, messages
from porter.apps.transfer.sources.wire import MalformedMessage, Piece, pieces
from porter.errors import UsageError, WeightError
from porter.system.input_files import require_file

Array = npt.NDArray[Any]

V1, TODAY = 2, 100
"""Fields of NetParameter that hold layers of 2014 and of today."""
BLOBS = {V1: 6, TODAY: 7}
MESSAGE = {V1: "V1LayerParameter", TODAY: "LayerParameter"}
KINDS = {5: "<f4", 8: "<f8"}
"""Fields of BlobProto that hold numbers."""


@dataclass(frozen=True)
class SavedLayer:
    """A layer of a file: what protobuf made of all but its weights, and where those are."""

    message: Any
    blobs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CaffeFile:
    """A `.caffemodel`: its layers by name, and the bytes in which their weights are."""

    saved: dict[str, SavedLayer]
    data: memoryview

    @property
    def messages(self) -> list[Any]:
        """What the file itself says of its layers."""
        return [layer.message for layer in self.saved.values()]

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions that have weights."""
        return [
            name
            for name, layer in self.saved.items()
            if type_of(layer.message) == "Convolution" and layer.blobs
        ]

    def blobs(self, name: str) -> list[Array]:
        """The weights of a layer, in their shapes; none where the file has none.

        Raises WeightError.
        """
        layer = self.saved.get(name)
        ranges = layer.blobs if layer is not None else ()
        return [read_blob(self.data, start, end, name) for start, end in ranges[:2]]


def read_caffemodel(path: Path) -> CaffeFile:
    """Find the layers; their weights stay on the disk. Raises WeightError."""
    data = mapped(path)
    saved = {layer.message.name: layer for layer in layers_of(data, path)}
    if not saved:
        raise WeightError("no layers: this is no .caffemodel", where=path.name)
    file = CaffeFile(saved, data)
    if not file.convolutions:
        types = [f"{n} ({type_of(each.message)})" for n, each in list(saved.items())[:8]]
        raise WeightError(
            "the file holds no convolutions with weights: fully-connected layers only, or none",
            where=path.name,
            received=", ".join(types),
        )
    return file


def mapped(path: Path) -> memoryview:
    """A file's bytes, which stay on the disk until they are read."""
    with require_file(path).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def layers_of(data: memoryview, path: Path) -> Iterator[SavedLayer]:
    """The layers of a `.caffemodel`, their weights left where they are. Raises WeightError."""
    from google.protobuf.message import DecodeError

    try:
        for piece in pieces(data, 0, len(data)):
            if piece.number in MESSAGE and piece.wire == 2:
                yield layer_of(data, piece)
    except (MalformedMessage, DecodeError) as error:
        raise WeightError(
            "the file is truncated, or no .caffemodel",
            where=path.name,
            received=str(error),
            hint="download it again, and compare the size with the server's",
        ) from error


def layer_of(data: memoryview, piece: Piece) -> SavedLayer:
    """One layer."""
    rest, blobs = bytearray(), []
    for inner in pieces(data, piece.value, piece.end):
        if inner.number == BLOBS[piece.number]:
            blobs.append((inner.value, inner.end))
        else:
            rest += data[inner.start : inner.end]
    message = messages()[MESSAGE[piece.number]].FromString(bytes(rest))
    if any(isinstance(text, bytes) for text in (message.name, message.type)):
        raise MalformedMessage("a layer's name or type is not UTF-8")
    return SavedLayer(message, tuple(blobs))


def read_prototxt(path: Path) -> list[Any]:
    """The layers that a prototxt describes, without those of training. Raises WeightError."""
    from google.protobuf import text_format

    net = messages()["NetParameter"]()
    try:
        text_format.Parse(
            require_file(path).read_text(encoding="utf-8"), net, allow_unknown_field=True
        )
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
