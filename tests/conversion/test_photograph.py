"""The photograph that a report shows: fed as the net is fed, seen as people see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from porter import Conversion
from porter.conversion.photograph import in_colours, photograph
from porter.imaging.geometry import Geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.presets import BUILT_IN
from porter.parity.compare import Report
from porter.parity.thumbnails import Strip
from porter.report.pages import render
from porter.report.pages.document import Document

BGR = BUILT_IN["fast-neural-style-vgg"]


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        (Geometry(), (96, 128)),
        (Geometry(multiple=64), (128, 128)),
        (Geometry(size=(30, 40)), (30, 40)),
    ],
)
def test_the_photograph_is_fed_at_a_size_that_the_net_takes(
    geometry: Geometry, size: tuple[int, int]
) -> None:
    sample = photograph(ImageSpec(BUILT_IN["plain"], geometry, "asked for"))
    assert isinstance(sample.arrays, np.ndarray)
    assert sample.arrays.shape == (1, 3, *size)
    red, _, blue = sample.arrays[0].mean(axis=(1, 2))
    assert red > blue, "a cup of coffee on red wood"
    assert 0 <= sample.arrays.min() < sample.arrays.max() <= 1


def test_red_is_shown_as_red() -> None:
    spec = ImageSpec(BGR, Geometry(), "asked for")
    fed = photograph(spec).arrays
    assert isinstance(fed, np.ndarray)
    image = np.moveaxis(fed[0], 0, -1)
    report = Report((), "photograph", "numpy float64", strip=Strip(image, image, image, image, 0.0))
    shown = in_colours(report, spec).strip
    assert shown is not None
    for pixels in (shown.fed, shown.expected, shown.computed):
        assert pixels[..., 0].mean() > pixels[..., 2].mean()
        np.testing.assert_array_equal(pixels, image[..., ::-1])


def test_a_page_shows_the_photograph_in_place_of_noise(oilpaint: Conversion) -> None:
    pytest.importorskip("jinja2")
    noise = [replace(each, input=f"noise {n}") for n, each in enumerate(oilpaint.reports)]
    assert noise[0].strip is not None
    photo = replace(noise[0], input="photograph 96×128")
    pages = [
        render(Document("net", reports, (), {}), "html").partition("Errors by layer")[0]
        for reports in (tuple(noise), (*noise, photo))
    ]
    assert pages[0].count("<figure") == 4 * min(len(noise), 3)
    assert pages[1].count("<figure") == 4
    assert "photograph 96×128; oracle" in pages[1]
