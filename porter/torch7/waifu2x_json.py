"""waifu2x's `.json` files: the weights of its `.t7`, and nothing of how layers are connected.

    [{"nInputPlane": 3, "nOutputPlane": 32, "kW": 3, "kH": 3, "weight": [[[[…]]]], "bias": […]}, …]

The first entry may have `model_config`, what the `.t7` has as `w2nn_…`, and each a `class_name`.
Nets in a chain (vgg_7, upconv_7, upconv_7l) become the module tree of their `.t7`.

Source: waifu2x tools/export_model.lua, lib/srcnn.lua.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from porter.errors import Corrupt, Unsupported, printable
from porter.torch7 import TorchObject, build
from porter.torch7.types import Array

CLASSES = (
    None,
    *("nn.SpatialConvolutionMM", "cudnn.SpatialConvolution"),
    *("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution"),
)
LARGEST = 2**28
"""Bytes of a file that are parsed; the largest published one has some 40 MB."""
CHAINS = ("vgg_", "upconv_")
"""How the names of nets in a chain begin."""
TAKE_T7 = "Take the .t7 that lies beside it in waifu2x's models/."


def read_weights(text: memoryview) -> TorchObject:
    """The module tree. Raises Corrupt for weights that are none, Unsupported for branched nets."""
    if len(text) > LARGEST:
        raise Unsupported("This JSON file is too large to be one of waifu2x's.", hint=TAKE_T7)
    try:
        layers = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise Corrupt(
            "This JSON file is damaged.",
            received=str(error) or None,
            hint="Download the file again.",
        ) from error
    for number, layer in enumerate(layers, start=1):
        if not isinstance(layer, dict):
            raise corrupt(number, "a layer should be an object", type(layer).__name__)
    config = layers[0].get("model_config")
    config = config if isinstance(config, dict) else {}
    require_chain(layers, config.get("arch_name"))
    modules: list[TorchObject] = []
    for number, layer in enumerate(layers, start=1):
        modules += [convolution(layer, number), build.leaky_relu(0.1, inplace=True)]
    modules[-1] = build.torch_module("w2nn.InplaceClip01")
    net = build.sequential(*modules, build.view(-1, sample_rank=3))
    fields = {"channels": layers[-1]["nOutputPlane"]}
    fields |= {key: value for key, value in config.items() if isinstance(value, str | int | float)}
    net.fields |= {f"w2nn_{key}": build.lua(value) for key, value in fields.items()}
    return net


def require_chain(layers: list[dict[str, Any]], architecture: Any) -> None:
    """Raise Unsupported unless each layer reads what the one before makes, and the net is known.

    Files without a name are from before there were others than vgg_7.
    """
    fits = architecture is None or str(architecture).startswith(CHAINS)
    fits &= all(layer.get("class_name") in CLASSES for layer in layers)
    fits &= all(layer.get("dilationW", 1) == layer.get("dilationH", 1) == 1 for layer in layers)
    fits &= all((layer.get("kW"), layer.get("kH")) == (3, 3) for layer in layers[:-1])
    planes = [layer.get("nOutputPlane") for layer in layers[:-1]]
    fits &= planes == [layer.get("nInputPlane") for layer in layers[1:]]
    if not fits:
        raise Unsupported(
            "This JSON file does not tell how its layers are connected.",
            received=f"{len(layers)} layers" + (f" of {architecture}" if architecture else ""),
            hint=TAKE_T7,
        )


def convolution(layer: dict[str, Any], number: int) -> TorchObject:
    """nn.SpatialConvolution, or nn.SpatialFullConvolution if the class says so. Raises Corrupt."""
    full = "FullConvolution" in str(layer.get("class_name"))
    inputs, outputs, *kernel = (
        whole(layer, number, name, 1) for name in ("nInputPlane", "nOutputPlane", "kH", "kW")
    )
    planes = (inputs, outputs) if full else (outputs, inputs)
    weight = numbers(layer, number, "weight", (*planes, *kernel))
    bias = numbers(layer, number, "bias", (outputs,))
    stride = whole(layer, number, "dH", 1, 1), whole(layer, number, "dW", 1, 1)
    pad = whole(layer, number, "padH", 0, 0), whole(layer, number, "padW", 0, 0)
    if full:
        return build.full_convolution(weight, bias, stride, pad)
    return build.convolution(weight, bias, stride, pad)


def whole(
    layer: dict[str, Any], number: int, name: str, least: int, default: int | None = None
) -> int:
    """An integer, where old files may lack strides and paddings. Raises Corrupt."""
    value = layer.get(name, default)
    if type(value) is not int or not least <= value < 2**16:
        raise corrupt(number, f"'{name}' should be an integer from {least} on", value)
    return value


def numbers(layer: dict[str, Any], number: int, name: str, shape: tuple[int, ...]) -> Array:
    """Numbers of some shape, nested lists in the file. Raises Corrupt."""
    try:
        array = np.array(layer.get(name), np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise corrupt(number, f"'{name}' should be nested lists of numbers", error) from error
    if array.shape != shape or not np.isfinite(array).all():
        expected = "×".join(map(str, shape))
        received = "×".join(map(str, array.shape)) or layer.get(name)
        raise corrupt(number, f"'{name}' should be {expected} finite numbers", received)
    return array


def corrupt(number: int, what: str, received: object) -> Corrupt:
    """The error of one layer."""
    return Corrupt(
        f"In waifu2x's JSON {what}.",
        object_path=f"layer {number}",
        received=printable(str(received)),
        hint="Download the file again.",
    )
