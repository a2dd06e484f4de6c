"""Colours for grey pictures: Iizuka, Simo-Serra and Ishikawa, Let there be Color! (2016).

The net takes a picture's luminance twice, at 224×224 and at its own size, and makes a* and b* at
half that size. The file fixes the size: two nn.Replicate hold an eighth of the height and of the
width. The script writes those of each picture into them, as is done here.

Source: siggraph2016_colorization colorize.lua.
"""

from __future__ import annotations

import numpy as np

from porter.apps.stylize.runners import Net, full_precision
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
from porter.ir.graph import TensorType
from porter.ir.layout import plan
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.runtime.runner import Variables, load, run, store
from porter.torch7 import Table, describe

PRESET = Preset("colourisation", PixelEncoding("Y"), PixelEncoding("RGB"))
GLOBAL = 224
"""Height and width of the picture of which the net takes the whole."""
SHARE = 8
"""Sizes are rounded to multiples of it."""


class ColourNet(Net):
    """Luminance 1×H×W×1 in 0…1 to RGB 1×H×W×3, which may go beyond 0…1."""

    def __init__(self, opened: ModelFile, options: Options) -> None:
        full_precision()
        root = opened.file.root
        mean = root.get("mean") if isinstance(root, Table) else None
        if not isinstance(mean, float):
            raise BadField("'mean' of the file should be a number", received=describe(mean))
        self.shape = (1, None, None, 1)
        self.opened, self.options, self.mean = opened, options, np.float32(mean)
        self.variables = Variables()

    def run(self, x: Array) -> Array:
        luminance = x[..., 0]
        height, width = (max(1, int(n / SHARE + 0.5)) * SHARE for n in x.shape[1:3])
        own = scaled_bilinear(luminance, height, width) - self.mean
        ab = self.predicted(scaled_bilinear(own, GLOBAL, GLOBAL), own)
        return coloured(luminance, ab).transpose(1, 2, 0)[None]

    def predicted(self, whole: Array, own: Array) -> Array:
        """The net's two planes for two pictures 1×H×W."""
        height, width = own.shape[1:]
        copies = [height // SHARE, width // SHARE]
        for _, module in submodules(self.opened.root):
            if module.typename == "nn.Replicate":
                module.fields["nfeatures"] = float(copies.pop(0))
        model = self.opened.model(self.options)
        planned = plan(model.walk([TensorType((1, *each.shape)) for each in (whole, own)]))
        stored = {
            value.id: store(each[None], value, planned.inputs[value.id], "float32")
            for value, each in zip(leaves(planned.graph.inputs), (whole, own), strict=True)
        }
        (output,) = leaves(planned.graph.outputs)
        tensor = run(planned, stored, self.variables)[output.id]
        ab: Array = load(tensor, planned.outputs[output.id])[0]
        return ab


def coloured(luminance: Array, predicted: Array) -> Array:
    """RGB 3×H×W of a luminance 1×H×W with predicted colours 2×h×w, (a*/100 + 1)/2 and so b*.

    The script takes L* of an image whose three planes of YUV are all the luminance.
    """
    ab = scaled_bilinear(predicted * 2 - 1, *luminance.shape[1:]) * 100
    lightness = rgb_to_lab(yuv_to_rgb(np.repeat(luminance, 3, axis=0)))[:1]
    chroma = rgb_to_yuv(lab_to_rgb(np.concatenate([lightness, ab])))[1:]
    return yuv_to_rgb(np.concatenate([luminance, chroma]))
