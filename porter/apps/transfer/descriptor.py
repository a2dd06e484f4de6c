"""The features by which pictures are compared: a few layers of a network that was trained.

    descriptor = open_descriptor("vgg19.t7", ["relu1_1", "relu4_2"])
    features = descriptor(images)             # {"relu1_1": N×h×w×64, "relu4_2": N×h×w×512}

Works inside tf.function and under tf.GradientTape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from porter.apps.transfer.checks import WeightError, require_layers, require_sha256
from porter.errors import UsageError
from porter.imaging.presets import PixelEncoding, find
from porter.ir.options import Options
from porter.ir.registry import Registry

Features = Callable[[Any], dict[str, Any]]

POOLINGS = ("as-saved", "max", "average")
PADDINGS = ("as-saved", "same", "valid")


class Source(Protocol):
    """A weight file that was opened. `names` are all layers that can be asked for, in order."""

    @property
    def what(self) -> str:
        """What the file is, in a few words."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def preprocessing(self) -> PixelEncoding | None:
        """What the net's numbers mean; None where the file does not tell."""

    def build(self, wanted: Sequence[str], pooling: str, padding: str, dtype: str) -> Features:
        """Features of the net's own numbers N×H×W×C by name; only what they need is computed."""


@dataclass(frozen=True)
class Opening:
    """How a weight file is opened, where it does not tell by itself.

    `prototxt` belongs to a `.caffemodel`; `select` chooses a module of a Torch checkpoint.
    """

    prototxt: Path | None = None
    select: str | None = None
    registry: Registry | None = None
    options: Options = field(default_factory=Options)


class Descriptor:
    """Features of RGB pictures by layer name.

    Called with float images N×H×W×3 in 0…255, in the descriptor's precision, it returns a dict of
    layer name to features N×h×w×C. What the network must be fed instead (other order of channels,
    other range, less a mean) is computed inside.
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


def to_numbers(images: Any, side: PixelEncoding) -> Any:
    """RGB levels N×H×W×3 as the net's numbers N×H×W×C; neither clipped nor rounded."""
    from porter.system.tensorflow import tf

    if side.channels == "BGR":
        images = images[..., ::-1]
    elif side.planes == 1:
        images = tf.tensordot(images, tf.constant([0.299, 0.587, 0.114], images.dtype), 1)
        images = images[..., None]
    low, high = side.range
    scale = (high - low) / 255
    mean, std = (tf.constant(each, images.dtype) for each in (side.mean, side.std))
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
    """The descriptor that a weight file holds, of the layers that are wanted.

    `path` is a Torch classifier `.t7`, a folder that porter converted, a `.caffemodel` with its
    prototxt beside it, `.npz` or `.npy` weights, or a Keras `.h5` or `.keras`. `preprocessing` is
    a preset's name, a preset's file or a `PixelEncoding`, where the file does not tell or is to be
    overruled. `pooling` and `padding` change every layer of their kind.

    Raises UsageError for layers that do not exist, WeightError or T7Error for files that are not
    what they should be: each message says what the file is.
    """
    file = Path(path)
    for name, value, known in (("pooling", pooling, POOLINGS), ("padding", padding, PADDINGS)):
        if value not in known:
            raise UsageError(f"{name} is one of {', '.join(known)}", received=value)
    if sha256 is not None:
        require_sha256(file, sha256)
    source = open_source(file, opening or Opening())
    require_layers(list(layers), source.names, f"{file.name} ({source.what})")
    side = meant(preprocessing, source, file)
    try:
        features = source.build(list(layers), pooling, padding, dtype)
    except WeightError as error:
        error.where = f"{file.name}, {error.where}" if error.where else file.name
        raise
    return Descriptor(features, layers, side, source.what, dtype)


def meant(preprocessing: str | PixelEncoding | None, source: Source, file: Path) -> PixelEncoding:
    """What the net's numbers mean: as asked for, or as the file tells."""
    if isinstance(preprocessing, PixelEncoding):
        return preprocessing
    if preprocessing is not None:
        return find(preprocessing).input
    if source.preprocessing is None:
        raise UsageError(
            f"{file.name} ({source.what}) does not tell how pictures become its numbers",
            hint="say it with `preprocessing=`: imagenet-caffe (BGR levels less their mean: VGG, "
            "AlexNet), imagenet-torch (RGB 0…1, mean and std), plain (RGB 0…1), or a FILE.toml",
        )
    return source.preprocessing


def open_source(path: Path, opening: Opening) -> Source:
    """Read whatever weight file this is, by its content rather than its name."""
    from porter.apps.transfer.sources import open_file

    return open_file(path, opening)
