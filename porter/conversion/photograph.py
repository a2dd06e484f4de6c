"""The photograph that a report shows of a net that takes pictures: noise shows nobody anything."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import numpy as np

from porter.frontend.inputs import Sample
from porter.imaging.image_spec import ImageSpec
from porter.imaging.photos import Photo, read_image, resized
from porter.imaging.pixels import to_net
from porter.ir.fields import Array
from porter.parity.compare import Report
from porter.parity.thumbnails import PHOTOGRAPH, Strip

FILE = "photograph.png"
"""Part of scikit-image's `coffee` (CC0), 96×128."""


def photograph(spec: ImageSpec) -> Sample:
    """The bundled photograph as the net is fed it, N×C×H×W, at a size that the net takes."""
    with resources.as_file(resources.files(__package__) / FILE) as path:
        photo: Photo = read_image(path)
    if spec.geometry.size is not None:
        photo = resized(photo, *spec.geometry.size)
    height, width = photo.size
    fed = to_net(photo.pixels[None], spec).transpose(0, 3, 1, 2)
    return Sample(f"{PHOTOGRAPH} {height}×{width}", np.ascontiguousarray(fed, np.float32))


def in_colours(report: Report, spec: ImageSpec) -> Report:
    """A report whose pictures show red as red, where the net counts colours from blue."""
    strip, side = report.strip, spec.preset.output
    if strip is None or side is None:
        return report

    def shown(image: Array, channels: str) -> Array:
        return image[..., ::-1] if channels == "BGR" else image

    colours: Strip = replace(
        strip,
        fed=shown(strip.fed, spec.preset.input.channels),
        expected=shown(strip.expected, side.channels),
        computed=shown(strip.computed, side.channels),
    )
    return replace(report, strip=colours)
