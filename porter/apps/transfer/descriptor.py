"""The features by which images are compared: a few layers of a trained network.

    descriptor = open_descriptor("vgg19.t7", ["relu1_1", "relu4_2"])
    features = descriptor(images)             # {"relu1_1": N×h×w×64, "relu4_2": N×h×w×512}

Works inside tf.function and under tf.GradientTape.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from porter.apps.transfer.checks import require_layers, require_sha256
from porter.apps.transfer.recipe import CHOICES
from porter.apps.transfer.source import DescriptorSource, Features, Opening
from porter.apps.transfer.sources import is_name, open_file
from porter.errors import UsageError, WeightError
from porter.imaging.presets import PixelEncoding, find


class Descriptor:
    """Features of RGB images by layer name.

    Called with float images N×H×W×3 in 0…255, in the descriptor's precision, it returns a dict of
    layer name to features N×h×w×C. What the network must be fed instead (other order of channels,
    other range, less a mean) is computed inencoding.
    """

    def __init__(
        self,
        features: Features,
        layers: Sequence[str],
        preprocessing: PixelEncoding,
        what: str = "",
        dtype: str = "float32",
    ) -> None:
        self.layers = tuple(layers)
        self.preprocessing = preprocessing
        self.what = what
        self.dtype = dtype
        self._features = features

    def __call__(self, images: Any) -> dict[str, Any]:
        """Features of images N×H×W×3 in 0…255 by layer name."""
        return self._features(to_numbers(images, self.preprocessing))


def to_numbers(images: Any, encoding: PixelEncoding) -> Any:
    """RGB images N×H×W×3 in 0…255 as the net's numbers N×H×W×C; neither clipped nor rounded."""
    from porter.system.tensorflow import tf

    if encoding.channels == "BGR":
        images = images[..., ::-1]
    elif encoding.planes == 1:
        images = tf.tensordot(images, tf.constant([0.299, 0.587, 0.114], images.dtype), 1)
        images = images[..., None]
    low, high = encoding.range
    scale = (high - low) / 255
    mean, std = (tf.constant(each, images.dtype) for each in (encoding.mean, encoding.std))
    return (images * scale + low - mean) / std


def open_descriptor(
    path: str | os.PathLike[str],
    layers: Sequence[str],
    *,
    pooling: str = "as-saved",
    padding: str = "as-saved",
    preprocessing: str | PixelEncoding | None = None,
    dtype: str = "float32",
    sha256: str | None = None,
    opening: Opening | None = None,
) -> Descriptor:
    """The descriptor that a weight file holds, of some of its layers.

    `path` is a Torch classifier `.t7`, a folder that porter converted, a `.caffemodel` with its
    prototxt beside it, `.npz` or `.npy` weights, a Keras `.h5` or `.keras`, a VGG of PyTorch's
    (`.pth`, `.safetensors`) or MatConvNet's (`.mat`), or `keras:NAME`, which Keras downloads.
    `preprocessing` is
    a preset's name, a preset's file or a `PixelEncoding`, where the file does not say or is to be
    overruled. `pooling` and `padding` change every layer of their kind.

    Raises UsageError for layers that do not exist, WeightError or T7Error for files that are not
    what they should be: each message says what the file is.
    """
    file = Path(path)
    for name, value in (("pooling", pooling), ("padding", padding)):
        if value not in CHOICES[name]:
            raise UsageError(f"{name} is one of {', '.join(CHOICES[name])}", received=value)
    if sha256 is not None and not is_name(file):
        require_sha256(file, sha256)
    source = open_file(file, opening or Opening())
    require_layers(list(layers), source.names, f"{file.name} ({source.what})")
    encoding = encoding_of(preprocessing, source, file)
    try:
        features = source.build(list(layers), pooling, padding, dtype)
    except WeightError as error:
        error.where = f"{file.name}, {error.where}" if error.where else file.name
        raise
    return Descriptor(features, layers, encoding, source.what, dtype)


def encoding_of(
    preprocessing: str | PixelEncoding | None, source: DescriptorSource, file: Path
) -> PixelEncoding:
    """What the net's numbers mean: as asked for, or as the file says."""
    if isinstance(preprocessing, str):
        preprocessing = find(preprocessing).input
    if source.preprocesses and preprocessing not in (None, source.preprocessing):
        raise UsageError(
            f"the first layer of {file.name} does the preprocessing itself",
            hint="leave `preprocessing=` out: what is fed twice its mean describes nothing",
        )
    if preprocessing is not None:
        return preprocessing
    if source.preprocessing is None:
        raise UsageError(
            f"{file.name} ({source.what}) does not say how images become its numbers",
            hint="say it with `preprocessing=`: imagenet-caffe (BGR in 0…255 less its "
            "mean: VGG, AlexNet), imagenet-torch (RGB 0…1, mean and std), plain (RGB 0…1), "
            "or a FILE.toml",
        )
    return source.preprocessing
