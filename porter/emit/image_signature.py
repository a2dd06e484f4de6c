"""The signature `image` of a SavedModel: 8-bit RGB in, 8-bit RGB (or the five best classes) out.

The same arithmetic as `pixels.py`, as TensorFlow operations, so that a server needs no code beside
the model.
"""

from __future__ import annotations

from typing import Any

from porter.emit.port import Port
from porter.imaging.image_spec import ImageSpec
from porter.imaging.pixels import RGB, YUV, lost
from porter.imaging.presets import PixelEncoding
from porter.ir.layout import channels_last, image_layout
from porter.ir.nested import leaves
from porter.system.tensorflow import tf

NAME = "image"
BEST = 5
"""How many classes are returned."""


def image_signature(spec: ImageSpec, port: Port, data_format: str) -> Any:
    """The traced signature: `image` uint8 N×H×W×3 to `image`, or to `classes` and more."""
    (input_value,) = leaves(port.graph.inputs)
    (output_value,) = leaves(port.graph.outputs)
    batch, _, height, width = input_value.type.shape
    signature = tf.TensorSpec([batch, height, width, 3], tf.uint8, name=NAME)
    inside = image_layout(4, data_format) == channels_last(4, 2)

    def serve(image: Any) -> dict[str, Any]:
        numbers = levels_to_numbers(stretched(image, spec), spec.preset.input)
        fed = numbers if inside else tf.transpose(numbers, [0, 3, 1, 2])
        (output,) = port.module.serve(fed).values()
        if spec.preset.output is None:
            return classes(output, spec)
        if output_value.type.rank == 4 and not inside:
            output = tf.transpose(output, [0, 2, 3, 1])
        return {NAME: picture(output, image, spec, spec.preset.output)}

    return tf.function(serve, input_signature=[signature], autograph=False).get_concrete_function()


def stretched(image: Any, spec: ImageSpec) -> Any:
    """The outermost rows and columns repeated as the net needs it (`pixels.padding`)."""
    before, multiple = lost(spec.preset, spec.geometry), spec.geometry.multiple
    if spec.geometry.size is not None or (before, multiple) == (0, 1):
        return image
    for axis in (1, 2):
        size = tf.shape(image)[axis]
        after = before + tf.math.floormod(-(size + 2 * before), multiple)
        places = tf.clip_by_value(tf.range(-before, size + after), 0, size - 1)
        image = tf.gather(image, places, axis=axis)
    return image


def levels_to_numbers(image: Any, side: PixelEncoding) -> Any:
    """Levels as the net's numbers."""
    x = tf.cast(image, tf.float32) / 255.0
    if side.channels == "BGR":
        x = tf.reverse(x, axis=[-1])
    elif side.planes == 1:
        x = tf.reduce_sum(x * YUV[0], axis=-1, keepdims=True)
    low, high = side.range
    return (x * (high - low) + low - tf.constant(side.mean)) / tf.constant(side.std)


def picture(output: Any, image: Any, spec: ImageSpec, side: PixelEncoding) -> Any:
    """The finished 8-bit picture (`pixels.to_images`)."""
    geometry = spec.geometry
    before = lost(spec.preset, geometry)
    padded = [tf.shape(stretched(image, spec))[axis] for axis in (1, 2)]
    if geometry.flat:
        sizes = [geometry.scale * size - geometry.margin for size in padded]
        output = tf.transpose(tf.reshape(output, [-1, side.planes, *sizes]), [0, 2, 3, 1])
    for axis, fed in zip((1, 2), padded, strict=True):
        size = tf.shape(image)[axis]
        kept = geometry.scale * size - (0 if before else geometry.margin)
        whole = tf.shape(output)[axis]
        places = tf.range(tf.where(fed == size, whole, tf.minimum(kept, whole)))
        if geometry.multiple > 1 or before:
            output = tf.gather(output, places, axis=axis)
    levels = numbers_to_levels(output, side)
    if side.channels == "Y":
        levels = coloured(levels, image)
    levels = median(levels, spec.preset.median_filter)
    return tf.cast(tf.round(tf.clip_by_value(levels, 0.0, 255.0)), tf.uint8)


def numbers_to_levels(numbers: Any, side: PixelEncoding) -> Any:
    """The net's numbers as levels."""
    low, high = side.range
    levels = numbers * tf.constant(side.std) + tf.constant(side.mean)
    levels = (levels - low) * (255 / (high - low))
    if side.channels == "grey":
        return tf.repeat(levels, 3, axis=-1)
    return tf.reverse(levels, axis=[-1]) if side.channels == "BGR" else levels


def coloured(luminance: Any, image: Any) -> Any:
    """Luminance with the colours of the photo."""
    for axis in (1, 2):
        places = tf.minimum(tf.range(tf.shape(luminance)[axis]), tf.shape(image)[axis] - 1)
        image = tf.gather(image, places, axis=axis)
    chroma = tf.tensordot(tf.cast(image, tf.float32), tf.constant(YUV[1:].T), 1)
    light = tf.clip_by_value(luminance, 0.0, 255.0)
    return tf.tensordot(tf.concat([light, chroma], axis=-1), tf.constant(RGB.T), 1)


def median(levels: Any, window: int) -> Any:
    """The median of each window×window neighbourhood; the border without one is cut."""
    if window < 2:
        return levels
    rows = tf.shape(levels)[1] - window + 1
    columns = tf.shape(levels)[2] - window + 1
    shifted = [
        levels[:, down : down + rows, right : right + columns]
        for down in range(window)
        for right in range(window)
    ]
    return tf.sort(tf.stack(shifted, axis=-1), axis=-1)[..., window * window // 2]


def classes(scores: Any, spec: ImageSpec) -> dict[str, Any]:
    """The most probable classes, counted from 0, their probabilities, and names where known."""
    count = int(scores.shape[-1])
    flat = tf.reshape(scores, [-1, count])
    best, indices = tf.math.top_k(tf.nn.softmax(flat) if spec.softmax else flat, min(BEST, count))
    results = {"classes": indices, "probabilities": best}
    if spec.preset.labels:
        results["labels"] = tf.gather(tf.constant(spec.preset.labels), indices)
    return results
