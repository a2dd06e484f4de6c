"""Maximum and average over windows of a volume.

Source: torch/nn VolumetricMaxPooling.lua, VolumetricDilatedMaxPooling.lua,
VolumetricAveragePooling.lua; THNN VolumetricDilatedMaxPooling.c, VolumetricAveragePooling.c;
cudnn.torch Pooling3D.lua.
"""

from __future__ import annotations

from typing import Any

from porter.layer_maps.pooling import AveragePooling, MaxPooling
from porter.layer_maps.windows import LOWEST, Pads, surround, taps
from porter.maps import LayerMap, OpContext, Options, TorchObject, integers, register

CEIL_MODE_SINCE = 2
"""Class version of nn.VolumetricMaxPooling from which on Torch believes a saved `ceil_mode`."""


class VolumetricMax(MaxPooling):
    """Maximum over kT × kH × kW elements, `dilation` apart, of N×C×T×H×W or C×T×H×W."""

    kernel = integers("kT", "kH", "kW", cut=True)
    stride = integers("dT", "dH", "dW", cut=True)
    pad = integers("padT", "padH", "padW", default=0, cut=True)
    dilation = integers("dilationT", "dilationH", "dilationW", default=1, cut=True)
    spatial_rank = 3
    moves = False  # in 16 bits: see `pool`

    def pool(self, tf: Any, x: Any, pads: Pads, at: OpContext) -> Any:
        # TensorFlow pools volumes in float32 only.
        if max(self.dilation) > 1 or at.dtype == tf.float64:
            return self.by_slices(tf, x, pads)
        padded = surround(tf, x, pads, LOWEST)
        return tf.nn.max_pool3d(padded, self.kernel, self.stride, "VALID")


@register("nn.VolumetricMaxPooling", "nn.VolumetricDilatedMaxPooling")
class VolumetricMaxPooling(VolumetricMax):
    """Maximum over windows of a volume.

    Torch sets `ceil_mode` to false when it loads a file of class version 1. The dilated class
    inherits that rule but has no version of its own, and so always loses its ceil mode.
    """

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not self.ceil or module.version >= CEIL_MODE_SINCE:
            return self
        op = self.evolve(ceil=False)
        return op.with_notes("floor mode: Torch ignores `ceil_mode` of this class version")


@register("cudnn.VolumetricMaxPooling")
class CudnnVolumetricMaxPooling(VolumetricMax):
    """As nn.VolumetricMaxPooling, but in ceil mode no window is dropped."""

    is_cudnn = True


class VolumetricAverage(AveragePooling):
    """Average over kT × kH × kW elements of N×C×T×H×W or C×T×H×W."""

    kernel = integers("kT", "kH", "kW", cut=True)
    stride = integers("dT", "dH", "dW", cut=True)
    pad = integers("padT", "padH", "padW", default=0, cut=True)
    dilation = integers("dilationT", "dilationH", "dilationW", default=1, cut=True)
    spatial_rank = 3

    def mean(self, tf: Any, x: Any, at: OpContext) -> Any:
        if at.dtype == tf.float64:  # TensorFlow pools volumes in float32 only.
            for axis, (kernel, stride) in enumerate(zip(self.kernel, self.stride, strict=True)):
                total = tf.add_n(taps(tf, x, axis + 1, kernel, stride))
                x = tf.divide(total, float(kernel))
            return x
        return tf.nn.avg_pool3d(x, self.kernel, self.stride, "VALID")


@register("nn.VolumetricAveragePooling")
class VolumetricAveragePooling(VolumetricAverage):
    """Average over windows of a volume."""


@register("cudnn.VolumetricAveragePooling")
class CudnnVolumetricAveragePooling(VolumetricAverage):
    """As nn.VolumetricAveragePooling with cuDNN's rules; padding always counts."""

    is_cudnn = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.evolve(count_pad=True)
