"""What torch/image computes, on planes C×H×W, plane by plane or pixel by pixel.

Source: torch/image generic/image.c: Main_scaleBilinear, Main_rgb2lab, Main_lab2rgb; init.lua:
rgb2yuv, yuv2rgb.
"""

from __future__ import annotations

import numpy as np

from porter.imaging.pixels import RGB, YUV, Array

EPSILON, KAPPA = 216 / 24389, 24389 / 27
"""Where CIE's lightness becomes linear, and its slope."""
WHITE = np.array([0.950456, 1, 1.088754])
"""D65."""
XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
SRGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
"""Inverse to each other to three digits, as in Torch."""


def scaled_bilinear(image: Array, height: int, width: int) -> Array:
    """image.scale(image, width, height): linear between corners, or the mean of an area."""
    return along(along(image, width, 2), height, 1)


def along(image: Array, extent: int, axis: int) -> Array:
    """One axis scaled to `extent`."""
    count = image.shape[axis]
    if extent > count:
        places = np.arange(extent) * (np.float32(count - 1) / np.float32(extent - 1))
        between: Array = interpolated(image, places, axis).astype(image.dtype)
        return between
    if extent == count:
        return image
    start = np.zeros_like(image.take([0], axis), dtype=np.float64)
    integral = np.concatenate([start, np.cumsum(image, axis, dtype=np.float64)], axis)
    edges = np.arange(extent + 1) * (count / extent)
    sums = np.diff(interpolated(integral, edges, axis), axis=axis)
    means: Array = (sums * (extent / count)).astype(image.dtype)
    return means


def interpolated(image: Array, places: Array, axis: int) -> Array:
    """Values between the elements of an axis, at places counted from its first."""
    last = image.shape[axis] - 1
    before = np.clip(places.astype(np.int64), 0, last)
    part = (places - before).reshape([-1 if n == axis else 1 for n in range(image.ndim)])
    after = np.minimum(before + 1, last)
    between: Array = image.take(before, axis) * (1 - part) + image.take(after, axis) * part
    return between


def by_pixel(matrix: Array, image: Array) -> Array:
    """A matrix of colours, applied to every pixel."""
    return np.tensordot(matrix, image, 1)


def rgb_to_yuv(image: Array) -> Array:
    return by_pixel(YUV, image)


def yuv_to_rgb(image: Array) -> Array:
    return by_pixel(RGB, image)


def rgb_to_lab(image: Array) -> Array:
    """sRGB in 0…1 to CIE L*a*b* with L* in 0…100; also of colours outside."""
    x = image.astype(np.float64)
    linear = np.where(x <= 0.04045, x / 12.92, (np.maximum(x, 0) + 0.055) ** 2.4 / 1.055**2.4)
    xyz = by_pixel(XYZ, linear) / WHITE[:, None, None]
    f = np.where(xyz > EPSILON, np.cbrt(xyz), (KAPPA * xyz + 16) / 116)
    lab = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    return lab.astype(image.dtype)


def lab_to_rgb(image: Array) -> Array:
    """CIE L*a*b* to sRGB, not clipped."""
    lightness, a, b = image.astype(np.float64)
    middle = (lightness + 16) / 116
    f = np.stack([a / 500 + middle, middle, middle - b / 200])
    xyz = np.where(f**3 > EPSILON, f**3, (116 * f - 16) / KAPPA)
    xyz[1] = np.where(lightness > KAPPA * EPSILON, middle**3, lightness / KAPPA)
    linear = by_pixel(SRGB, xyz * WHITE[:, None, None])
    bright = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bright).astype(image.dtype)
