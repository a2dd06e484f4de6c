"""Convolutions over volumes and clips.

Source: torch/nn VolumetricConvolution.lua, VolumetricDilatedConvolution.lua; THNN
VolumetricConvolutionMM.c, VolumetricDilatedConvolution.c; cudnn.torch VolumetricConvolution.lua,
VolumetricDilatedConvolution.lua.
"""

from __future__ import annotations

from typing import Any

from porter.layer_maps.convolution import WeightedCorrelation
from porter.maps import Field, integers, param, register


class VolumetricCorrelation(WeightedCorrelation):
    """Over N×C×T×H×W or C×T×H×W; `weight` is O×I×kT×kH×kW."""

    weight = param("OITHW", to="THWIO")
    kernel = integers("kT", "kH", "kW", cut=True)
    stride = integers("dT", "dH", "dW", default=1, cut=True)
    pad = integers("padT", "padH", "padW", default=0, cut=True)
    dilation: tuple[int, ...] | Field[tuple[int, ...]] = (1, 1, 1)
    spatial_rank = 3
    takes = "N×C×T×H×W or C×T×H×W"
    apart = True
    reads_before_writing = True  # THNN VolumetricConvolutionMM.c unfolds each sample first

    def correlation(
        self,
        tf: Any,
        x: Any,
        filters: Any,
        stride: tuple[int, ...],
        pads: tuple[tuple[int, int], ...],
    ) -> Any:
        if any(map(any, pads)):
            x = tf.pad(x, [[0, 0], *map(list, pads), [0, 0]])
        return tf.nn.conv3d(x, filters, strides=[1, *stride, 1], padding="VALID")


@register("nn.VolumetricConvolution", "nn.VolumetricConvolutionMM", "cudnn.VolumetricConvolution")
class VolumetricConvolution(VolumetricCorrelation):
    """Cross-correlation over N×C×T×H×W or C×T×H×W with zero padding."""


@register("nn.VolumetricDilatedConvolution", "cudnn.VolumetricDilatedConvolution")
class VolumetricDilatedConvolution(VolumetricCorrelation):
    """The same with `dilation` − 1 unused places between the taps of the kernel."""

    dilation = integers("dilationT", "dilationH", "dilationW", default=1, cut=True)
    reads_before_writing = False
