"""What a rewrite needs to know about a layer: its geometry, whatever its Torch class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porter.ir.capabilities import LinearInPlanes, NormalizesPlanes, PlaneNormalization
from porter.ir.fields import Param
from porter.ir.graph import Node, TensorType
from porter.ir.layer_map import LayerMap


@dataclass(frozen=True)
class PlainConvolution:
    """A cross-correlation over images with filters O×I×kH×kW, undilated and in one group."""

    weight: Param
    bias: Param | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]


@dataclass(frozen=True)
class Deconvolution:
    """A full convolution with filters I×O×kH×kW; the output is cropped by `pad` less `adj`."""

    weight: Param
    bias: Param | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    adj: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether kernels are whole strides long, and nothing is added behind the columns."""
        lengths = zip(self.kernel, self.stride, strict=True)
        ends = zip(self.adj, self.pad, strict=True)
        return all(k % s == 0 for k, s in lengths) and all(adj <= pad for adj, pad in ends)


def plane_axis(node: Node) -> int | None:
    """The axis of a node's output whose planes are linear in the weight, each in its own slice."""
    op = node.op
    return op.plane_axis(node.outputs[0].type) if isinstance(op, LinearInPlanes) else None


def plane_normalization(op: LayerMap) -> PlaneNormalization | None:
    """The statistics and parameters by which a layer normalises planes, None if it does not."""
    return op.plane_normalization() if isinstance(op, NormalizesPlanes) else None


def plain_convolution(op: LayerMap) -> PlainConvolution | None:
    """`op` as a plain convolution, None if it is not one."""
    weight, bias = op.params().get("weight"), op.params().get("bias")
    if weight is None or (weight.axes, weight.to) != ("OIHW", "HWIO"):
        return None
    if not isinstance(op, LinearInPlanes) or op.plane_axis(TensorType((None,) * 4)) != 1:
        return None
    if bias is not None and bias.axes != "O":
        return None
    fields: dict[str, Any] = {name: getattr(op, name, None) for name in op.fields()}
    if any(fields.get(name) is None for name in ("kernel", "stride", "pad")):
        return None
    if fields.get("groups", 1) != 1 or tuple(fields.get("dilation", (1, 1))) != (1, 1):
        return None
    return PlainConvolution(weight, bias, *(tuple(fields[n]) for n in ("kernel", "stride", "pad")))


def deconvolution(op: LayerMap) -> Deconvolution | None:
    """`op` as a plain full convolution, None if it is not one."""
    weight, bias = op.params().get("weight"), op.params().get("bias")
    if weight is None or (weight.axes, weight.to) != ("IOHW", "HWOI"):
        return None
    if bias is not None and bias.axes != "O":
        return None
    sizes = [getattr(op, name, None) for name in ("kernel", "stride", "pad", "adj")]
    if any(each is None for each in sizes):
        return None
    return Deconvolution(weight, bias, *(tuple(each) for each in sizes if each is not None))
