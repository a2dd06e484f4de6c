"""Colours for grey pictures: Iizuka, Simo-Serra and Ishikawa, Let there be Color! (2016).

The net takes a picture's luminance twice, at 224×224 and at its own size, and makes a* and b* at
half that size. The file fixes the size: two nn.Replicate hold an eighth of the height and of the
width. The script writes those of each picture into them, as is done here.

Source: siggraph2016_colorization colorize.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.apps.stylize.runners import Net, full_precision, graph_of
from porter.errors import BadField
from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import submodules
from porter.imaging.presets import PixelEncoding, Preset
from porter.imaging.torch_image import (
    lab_to_rgb,
    rgb_to_lab,
    rgb_to_yuv,
    scaled_bilinear,
    yuv_to_rgb,
)
from porter.ir.fields import Array
from porter.ir.graph import TensorType, Value
from porter.ir.layout import Plan, plan
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.runtime.runner import Variables, load, run, store
from porter.torch7 import Table, describe

PRESET = Preset("colourisation", PixelEncoding("Y"), PixelEncoding("RGB"))
GLOBAL = 224
"""Height and width of the picture of which the net takes the whole."""
SHARE = 8
"""Sizes are rounded to multiples of it."""
ROWS = 64
"""Rows of which colours are converted at once, in float64."""


class ColourNet(Net):
    """Luminance 1×H×W×1 in 0…1 to RGB 1×H×W×3, which may go beyond 0…1."""

    from_torch = True

    def __init__(self, opened: ModelFile, options: Options) -> None:
        self.tf = full_precision()
        root = opened.file.root
        mean = root.get("mean") if isinstance(root, Table) else None
        if not isinstance(mean, float):
            raise BadField("'mean' of the file should be a number", received=describe(mean))
        self.shape = (1, None, None, 1)
        self.opened, self.options, self.mean = opened, options, np.float32(mean)
        self.variables = Variables()

    def run(self, x: Array) -> Array:
        luminance = x[..., 0]
        own = scaled_bilinear(luminance, *rounded(x.shape[1], x.shape[2])) - self.mean
        ab = self.predicted(scaled_bilinear(own, GLOBAL, GLOBAL), own)
        return coloured(luminance, ab).transpose(1, 2, 0)[None]

    def traced(self, height: int, width: int, count: int) -> Any:
        planned = self.planned(*rounded(height, width))
        whole, own = leaves(planned.graph.inputs)

        def predicted(x: Any) -> Any:
            fed = {whole.id: self.tf.zeros(stored_shape(planned, whole)), own.id: x}
            return list(run(planned, fed, self.variables).values())

        return graph_of(self.tf, predicted, stored_shape(planned, own))

    def predicted(self, whole: Array, own: Array) -> Array:
        """The net's two planes for two pictures 1×H×W, of which one is of 224×224."""
        planned = self.planned(*own.shape[1:])
        stored = {
            value.id: store(each[None], value, planned.inputs[value.id], "float32")
            for value, each in zip(leaves(planned.graph.inputs), (whole, own), strict=True)
        }
        (output,) = leaves(planned.graph.outputs)
        tensor = run(planned, stored, self.variables)[output.id]
        ab: Array = load(tensor, planned.outputs[output.id])[0]
        return ab

    def planned(self, height: int, width: int) -> Plan:
        """The net for pictures of this size."""
        copies = [height // SHARE, width // SHARE]
        for _, module in submodules(self.opened.root):
            if module.typename == "nn.Replicate":
                module.fields["nfeatures"] = float(copies.pop(0))
        model = self.opened.model(self.options)
        sizes = ((GLOBAL, GLOBAL), (height, width))
        return plan(model.walk([TensorType((1, 1, *size)) for size in sizes]))


def rounded(height: int, width: int) -> tuple[int, int]:
    """The size in which the net gets a picture of this one."""
    rows, columns = (max(1, int(extent / SHARE + 0.5)) * SHARE for extent in (height, width))
    return rows, columns


def stored_shape(planned: Plan, value: Value) -> tuple[int, ...]:
    """The shape of an input as TensorFlow stores it."""
    return tuple(value.shape[axis] for axis in planned.inputs[value.id].order)


def coloured(luminance: Array, predicted: Array) -> Array:
    """RGB 3×H×W of a luminance 1×H×W with predicted colours 2×h×w, (a*/100 + 1)/2 and so b*.

    The script takes L* of an image whose three planes of YUV are all the luminance.
    """
    ab = scaled_bilinear(predicted * 2 - 1, *luminance.shape[1:]) * 100
    parts = [
        np.array_split(each, -(-luminance.shape[1] // ROWS), axis=1) for each in (luminance, ab)
    ]
    return np.concatenate(list(map(with_chroma, *parts)), axis=1)


def with_chroma(luminance: Array, ab: Array) -> Array:
    """The same of rows of a picture, with a* and b* of every pixel."""
    lightness = rgb_to_lab(yuv_to_rgb(np.repeat(luminance, 3, axis=0)))[:1]
    chroma = rgb_to_yuv(lab_to_rgb(np.concatenate([lightness, ab])))[1:]
    return yuv_to_rgb(np.concatenate([luminance, chroma]))
