"""Modules that are small networks themselves, saved with the modules that they consist of.

Source: torch/nn Decorator.lua; dpnn Decorator.lua, Inception.lua, FireModule.lua, Module.lua
(toBatch, fromBatch); DenseNet models/DenseConnectLayer.lua; fairseq GradMultiply.lua.
"""

from __future__ import annotations

from porter.layer_maps.axes import Squeeze, Unsqueeze
from porter.layer_maps.containers import one_tensor, tensors
from porter.layer_maps.table import Join
from porter.maps import BadTable, Nested, ShapeMismatch, TorchObject, Value, Walk, structure


def inside(walk: Walk, module: TorchObject, old_field: str = "module") -> TorchObject:
    """The module at work: the first of `modules`, in old files that of a field."""
    children = walk.children(module) if "modules" in module else []
    return children[0] if children else module.object(old_field)


@structure("nn.Decorator", "nn.FireModule", "nn.GradMultiply")
def decorator(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the module inside.

    nn.FireModule (SqueezeNet): 1×1 convolution, then 1×1 and 3×3 convolutions side by side.
    nn.GradMultiply (fairseq) scales the gradients of its module, and nothing else.
    """
    return walk(inside(walk, module), x, at="1")


@structure("nn.Inception")
def inception(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Columns of convolutions and a pooling, joined by an nn.DepthConcat.

    A single sample C×H×W becomes a batch of one. To undo that, Torch drops the third dimension of
    the result in place of the first, so it takes single samples only if that has size 1.
    """
    image = one_tensor(module, x)
    columns = inside(walk, module, "depthConcat")
    if image.type.rank != 3:
        return walk(columns, image, at="1")
    output = one_tensor(module, walk(columns, walk.emit(Unsqueeze(position=1), image), at="1"))
    if output.type.rank < 3 or output.shape[2] != 1:
        raise ShapeMismatch(
            f"{module.typename} takes N×C×H×W; C×H×W only if its output is one row high",
            received=str(image.type),
        )
    return walk.emit(Squeeze(dimension=3), output)


@structure("nn.DenseConnectLayerCustom")
def dense_connect_layer(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A table of feature maps, extended by the output of two nets on all of them joined."""
    maps: list[Nested[Value]] = [x] if isinstance(x, Value) else [*tensors(module, x)]
    inputs = tensors(module, maps)
    if inputs[0].type.rank < 2:
        raise BadTable(f"{module.typename} should be given N×C×H×W", received=str(inputs[0].type))
    joined = x if isinstance(x, Value) else walk.emit(Join(axis=1), *inputs)
    first = walk(module.object("net1"), joined, at="1")
    return [*maps, walk(module.object("net2"), first, at="2")]
