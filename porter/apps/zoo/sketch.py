"""A net in one line of text, without its widths: what systems are recognised by.

    SpatialConvolution9;InstanceNormalization;ReLU;ConcatTable<SpatialConvolution3;…,Identity;>

A module is its class without `nn.`, its kernel and, from 2 on, its stride: `SpatialConvolution3/2`
is 3×3 with stride 2, `SpatialMaxPooling2x1/2x1` 2 high and 1 wide, and `SpatialConvolution3g` has
several groups. Branches of a container stand
between `<` and `>`, divided by commas; nn.Sequential and nngraph's graphs are left out, and their
modules stand one after the other. A module that is shared stands where it comes first, and dropout
nowhere.

`widths` are the planes or features that every module with weights takes and makes, in order;
`views` the sizes of every nn.View of two, such as words and their features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from porter.frontend.module_tree import parts
from porter.torch7 import Storage, Tensor, TorchObject

MAX_MODULES = 20_000
"""No published net has as many; a longer one is no system that is listed."""

BACKENDS = ("nn.", "cudnn.", "fbnn.")
SAME = {"SpatialConvolutionMM": "SpatialConvolution"}
"""Another class of Torch's with the same meaning, which took its place in old files."""
CHAINS = ("Sequential", "gModule", "DataParallelTable", "Inception", "Serial")
"""Containers that run what is in them one after the other, or only hold it."""
UNNAMED = ("Dropout", "SpatialDropout", "Copy")
"""What acts in training only, and differs from file to file of one system."""

WIDTHS = (("nInputPlane", "nOutputPlane"), ("inputFrameSize", "outputFrameSize"))

VIEW = "View;"

Widths = tuple[int, int]


@dataclass(frozen=True)
class Sketch:
    """A net's text, the widths of its modules with weights, and its views of two sizes."""

    text: str
    widths: tuple[Widths, ...]
    views: tuple[Widths, ...] = ()


def sketch(root: TorchObject) -> Sketch | None:
    """The sketch of a module tree; None for a tree that is larger than any published net."""
    words: list[str] = []
    widths: list[Widths] = []
    views: list[Widths] = []
    for count, (word, module) in enumerate(tokens(root)):
        if count > MAX_MODULES:
            return None
        words.append(word)
        pair = widths_of(module) if module is not None else None
        if pair is not None:
            (views if word == VIEW else widths).append(pair)
    return Sketch("".join(words), tuple(widths), tuple(views))


def tokens(root: TorchObject) -> Iterator[tuple[str, TorchObject | None]]:
    """Words in order, each with the module that it stands for, if it does."""
    visited: set[int] = set()
    pending: list[TorchObject | str] = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item, None
            continue
        if item.index in visited:
            continue
        visited.add(item.index)
        name = class_name(item)
        children = [child for _, child in parts(item)]
        if name in UNNAMED:
            continue
        size = kernel(item)
        if not children or size:  # a pooling may be a chain of simpler modules
            yield f"{name}{size};", item
        elif name in CHAINS:
            pending.extend(reversed(children))
        else:
            yield f"{name}<", item
            inside: list[TorchObject | str] = []
            for child in children:
                inside += [child, ","]
            pending.extend(reversed([*inside[:-1], ">"]))


def class_name(module: TorchObject) -> str:
    """The class of a module, whichever library computed it."""
    name = module.typename
    for backend in BACKENDS:
        name = name.removeprefix(backend)
    return SAME.get(name, name)


def kernel(module: TorchObject) -> str:
    """Kernel and stride, as far as a module has them."""
    size, stride = (extents(module, letter) for letter in "kd")
    if not size:
        return ""
    groups = module.get("groups")
    grouped = "g" if isinstance(groups, int | float) and groups > 1 else ""
    return by_axes(size) + (f"/{by_axes(stride)}" if set(stride) - {1} else "") + grouped


def extents(module: TorchObject, letter: str) -> list[int]:
    """The fields kT, kH, kW or dT, dH, dW."""
    values = (module.get(f"{letter}{axis}") for axis in "THW")
    return [int(value) for value in values if isinstance(value, int | float) and value == value]


def by_axes(values: list[int]) -> str:
    """One number where all are equal."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def widths_of(module: TorchObject) -> Widths | None:
    """What a module with weights takes and makes; for nn.LookupTable the words and their size.

    For an nn.View the two sizes that it names, if it names two.
    """
    size = module.get("size")
    if class_name(module) == VIEW[:-1]:
        named = size.array.tolist() if isinstance(size, Storage) else []
        return (named[0], named[1]) if len(named) == 2 else None
    for names in WIDTHS:
        inputs, outputs = (module.get(name) for name in names)
        if isinstance(inputs, int | float) and isinstance(outputs, int | float):
            return int(inputs), int(outputs)
    weight = module.get("weight")
    if isinstance(weight, Tensor) and len(weight.shape) == 2:
        rows, columns = weight.shape
        # nn.LookupTable has a row for each word, nn.Linear one for each output.
        return (rows, columns) if class_name(module).startswith("Lookup") else (columns, rows)
    return None
