"""Caffe's networks as Torch module trees: a graph of modules, wired as the prototxt says.

Layers get their weights by name. Layers that overwrite their input (`bottom` equal to `top`) have
features of their own: `conv1_1` is the convolution's output, `relu1_1` the rectifier's.

Source: Caffe src/caffe/layers: conv_layer.cpp, pooling_layer.cpp, relu_layer.cpp, lrn_layer.cpp,
concat_layer.cpp. Its poolings are Torch's in ceil mode, and its averages count padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from porter.apps.transfer.checks import require_filters
from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.caffe_file import (
    CaffeFile,
    read_caffemodel,
    read_prototxt,
    type_of,
)
from porter.apps.transfer.sources.module_source import ModuleSource, named
from porter.errors import WeightError
from porter.imaging.presets import VGG
from porter.torch7 import TorchObject, build

Array = npt.NDArray[Any]

HANDED_ON = ("Dropout", "Split")
TRAINING_ONLY = ("Data", "ImageData", "HDF5Data", "Input", "SoftmaxWithLoss", "Accuracy", "Silence")


@dataclass(frozen=True)
class WiredLayer:
    """A layer of a prototxt and the positions of those that it reads; None is the image.

    `is_supported` also tells of all that it reads.
    """

    message: Any
    inputs: tuple[int | None, ...]
    is_supported: bool

    @property
    def name(self) -> str:
        return str(self.message.name)


@dataclass(frozen=True)
class CaffeNetwork:
    """The layers of a prototxt in running order, and the file that holds their weights."""

    layers: tuple[WiredLayer, ...]
    file: CaffeFile

    @property
    def names(self) -> tuple[str, ...]:
        """Layers whose features can be asked for."""
        return tuple(layer.name for layer in self.layers if layer.is_supported)

    def tree(self, names: Sequence[str]) -> TorchObject:
        """An nn.gModule of the layers that lead to those of these names. Raises WeightError."""
        needed: set[int | None] = {i for i, each in enumerate(self.layers) if each.name in names}
        for position in reversed(range(len(self.layers))):
            if position in needed:
                needed.update(self.layers[position].inputs)
        nodes: dict[int | None, TorchObject] = {None: build.graph_node()}
        for position, layer in enumerate(self.layers):
            if position in needed:
                node = build.graph_node(named(layer.name, self.module(layer)))
                for source in layer.inputs:
                    build.link(nodes[source], node)
                nodes[position] = node
        output = build.graph_node()
        build.link(list(nodes.values())[-1], output)
        return build.graph_module(*nodes.values(), output)

    def module(self, layer: WiredLayer) -> TorchObject:
        """What a supported layer computes, as a Torch module."""
        message, kind = layer.message, type_of(layer.message)
        if kind == "Convolution":
            chosen = message.convolution_param
            weight, bias = self.weights(message)
            stride, pad = pair(chosen, "stride", "stride", 1), pair(chosen, "pad", "pad")
            return build.convolution(weight, bias, stride, pad, chosen.group or 1)
        if kind == "ReLU":
            slope = float(message.relu_param.negative_slope)
            return build.leaky_relu(slope) if slope else build.relu()
        if kind == "Pooling":
            chosen = message.pooling_param
            pooling = build.average_pooling if chosen.pool == 1 else build.max_pooling
            return pooling(
                pair(chosen, "kernel_size", "kernel"),
                pair(chosen, "stride", "stride", 1),
                pair(chosen, "pad", "pad"),
                ceil_mode=chosen.round_mode == 0,
            )
        if kind == "LRN":
            chosen = message.lrn_param
            return build.cross_map_lrn(
                chosen.local_size if chosen.HasField("local_size") else 5,
                chosen.alpha if chosen.HasField("alpha") else 1.0,
                chosen.beta if chosen.HasField("beta") else 0.75,
                chosen.k if chosen.HasField("k") else 1.0,
            )
        if len(layer.inputs) == 1:
            return build.identity()
        return build.torch_module("nn.JoinTable", dimension=2)

    def weights(self, message: Any) -> tuple[Array, Array | None]:
        """Weight O×I×kH×kW and bias of a convolution. Raises WeightError."""
        name, chosen = message.name, message.convolution_param
        blobs = self.file.blobs(name)
        if not blobs:
            raise WeightError(
                "the .caffemodel holds no weights of this layer of the prototxt",
                where=name,
                received="convolutions with weights: " + ", ".join(self.file.convolutions[:8]),
                hint="the prototxt is that of another architecture",
            )
        kernel, weight = pair(chosen, "kernel_size", "kernel"), blobs[0]
        planes = weight.size // (chosen.num_output * math.prod(kernel) or 1)
        shape = (chosen.num_output, planes, *kernel)
        if weight.size != math.prod(shape) or (weight.ndim == 4 and weight.shape != shape):
            raise WeightError(
                "the weights are not those of the prototxt's layer",
                where=name,
                received=f"{'×'.join(map(str, weight.shape))} where {'×'.join(map(str, shape))} "
                "is described",
                hint="the prototxt is that of another architecture",
            )
        bias = blobs[1].reshape(-1) if len(blobs) > 1 else None
        weight = weight.reshape(shape)
        require_filters(name, weight.transpose(2, 3, 1, 0), bias)
        return weight, bias


def open_caffe(path: Path, opening: Opening) -> ModuleSource:
    """A `.caffemodel` with its prototxt, or a prototxt beside one. Raises UsageError, WeightError.

    The prototxt is `opening`'s, else one of the same name beside the weights, else what the
    `.caffemodel` says itself.
    """
    prototxt = opening.prototxt
    if path.suffix == ".prototxt":
        prototxt, path = path, path.with_suffix(".caffemodel")
        if not path.is_file():
            raise WeightError(
                "a prototxt says how layers are joined and holds no weights",
                where=prototxt.name,
                hint=f"give the .caffemodel, with `prototxt={prototxt.name}`",
            )
    file = read_caffemodel(path)
    prototxt = prototxt or prototxt_beside(path)
    network = CaffeNetwork(wired(read_prototxt(prototxt) if prototxt else file.messages), file)
    count = len(file.convolutions)
    return ModuleSource(
        f"Caffe's network of {count} convolutions", VGG, network.names, network.tree
    )


def prototxt_beside(path: Path) -> Path | None:
    """A prototxt that is called like the weights."""
    for name in (f"{path.stem}.prototxt", f"{path.stem}_deploy.prototxt"):
        if path.with_name(name).is_file():
            return path.with_name(name)
    return None


def wired(messages: Sequence[Any]) -> tuple[WiredLayer, ...]:
    """The layers of inference, each with those that make its inputs."""
    layers: list[WiredLayer] = []
    makers: dict[str, int | None] = {}
    for message in messages:
        kind, tops = type_of(message), list(message.top)
        if kind in TRAINING_ONLY or not message.bottom:
            makers.update(dict.fromkeys(tops))
            continue
        if [rule.phase for rule in message.include] == [0]:
            continue
        inputs = tuple(makers.get(bottom) for bottom in message.bottom)
        if kind in HANDED_ON:
            makers.update(dict.fromkeys(tops, inputs[0]))
            continue
        supported = is_supported(message, kind) and all(
            layers[source].is_supported for source in inputs if source is not None
        )
        makers.update(dict.fromkeys(tops, len(layers)))
        layers.append(WiredLayer(message, inputs, supported))
    return tuple(layers)


def is_supported(message: Any, kind: str) -> bool:
    """Whether a layer is one that descriptors are made of."""
    if kind == "Convolution":
        return pair(message.convolution_param, "dilation", "dilation", 1) == (1, 1)
    if kind == "Pooling":
        stochastic = message.pooling_param.pool == 2
        return not (message.pooling_param.global_pooling or stochastic)
    if kind == "LRN":
        across_channels = 0
        return bool(message.lrn_param.norm_region == across_channels)
    return kind in ("ReLU", "Concat")


def pair(chosen: Any, both: str, each: str, default: int = 0) -> tuple[int, int]:
    """Height and width of a size that is stated once, twice or by axis."""
    fields = {field.name for field in chosen.DESCRIPTOR.fields}
    if f"{each}_h" in fields and (chosen.HasField(f"{each}_h") or chosen.HasField(f"{each}_w")):
        return getattr(chosen, f"{each}_h"), getattr(chosen, f"{each}_w")
    value = getattr(chosen, both)
    if isinstance(value, int):
        return (value, value) if chosen.HasField(both) else (default, default)
    return (int(value[0]), int(value[-1])) if value else (default, default)
