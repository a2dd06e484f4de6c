"""A whole Keras model, `.keras` or `.h5`: any architecture, cut behind the deepest layer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.transfer.checks import require_sound
from porter.apps.transfer.source import Features, Opening
from porter.apps.transfer.sources.vgg import place
from porter.emit.keras_files import require_known
from porter.errors import WeightError
from porter.imaging.presets import VGG, PixelEncoding

MAX, AVERAGE, CONVOLUTION = "MaxPooling2D", "AveragePooling2D", "Conv2D"


@dataclass(frozen=True)
class KerasModelSource:
    """A loaded model."""

    model: Any
    file: str

    @cached_property
    def layers(self) -> dict[str, str]:
        """Names of layers that make images; VGG's also as `relu1_1`, `pool1`."""
        names: dict[str, str] = {}
        for layer in self.model.layers:
            output = getattr(layer, "output", None)
            if type(layer).__name__ != "InputLayer" and len(getattr(output, "shape", ())) == 4:
                names[layer.name] = layer.name
        for name in list(names):
            at = place(name)
            if at is not None and name.startswith("block"):
                names.setdefault(f"relu{at[0]}_{at[1]}", name)
            elif name.startswith("block") and name.endswith("_pool"):
                names.setdefault(f"pool{name[5:-5]}", name)
        return names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.layers)

    @property
    def what(self) -> str:
        return f"the Keras model {self.model.name} of {len(self.model.layers)} layers"

    @property
    def preprocesses(self) -> bool:
        return False

    @property
    def preprocessing(self) -> PixelEncoding | None:
        """Caffe's for VGG, as keras.applications feeds it."""
        return VGG if "block1_conv1" in self.layers else None

    def build(self, layers: Sequence[str], pooling: str, padding: str, dtype: str) -> Features:
        """Features of the net's numbers by name."""
        from porter.system.tensorflow import tf

        keras = tf.keras
        outputs = {name: self.model.get_layer(self.layers[name]).output for name in layers}
        cut = keras.Model(self.model.inputs, outputs)
        if len(cut.inputs) != 1:
            raise WeightError(f"the model takes {len(cut.inputs)} inputs, not a single image")
        for layer in cut.layers:
            if type(layer).__name__ == CONVOLUTION:
                weight, *bias = layer.get_weights()
                require_sound(layer.name, np.asarray(weight), bias[0] if bias else None)
        planes = cut.inputs[0].shape[-1]
        copied = keras.models.clone_model(
            cut,
            input_tensors=[keras.Input((None, None, planes), dtype=dtype)],
            clone_function=lambda layer: adapted(keras, layer, pooling, padding, dtype),
        )
        copied.set_weights(cut.get_weights())
        copied.trainable = False

        def features(x: Any) -> dict[str, Any]:
            outputs: dict[str, Any] = copied(x, training=False)
            return {name: outputs[name] for name in layers}

        return features


def adapted(keras: Any, layer: Any, pooling: str, padding: str, dtype: str) -> Any:
    """A layer's copy with the pooling, padding and precision that was asked for."""
    kind, config = type(layer), layer.get_config() | {"dtype": dtype}
    name = kind.__name__
    if name in (MAX, AVERAGE) and pooling != "as-saved":
        kind = getattr(keras.layers, AVERAGE if pooling == "average" else MAX)
    if name == CONVOLUTION and padding != "as-saved":
        config["padding"] = padding
    return kind.from_config(config)


def open_keras(path: Path, opening: Opening) -> KerasModelSource:
    """A `.keras`, or a whole model in an `.h5`. Raises WeightError, and UnsafeFile for anything
    but known layers of Keras, before Keras sees the file."""
    own = require_known(path)
    if own:
        raise WeightError(
            "the model needs the `layers.py` that porter wrote beside it",
            where=path.name,
            hint="give the .t7 that was converted, or a SavedModel",
        )
    from porter.system.quiet import quiet_stderr
    from porter.system.tensorflow import tf

    try:
        with quiet_stderr():
            model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever the file makes it stumble over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightError(
            "Keras cannot load the file",
            where=path.name,
            received=first,
            hint="it is truncated, of another version, or holds layers of its author",
        ) from error
    source = KerasModelSource(model, path.name)
    if not source.layers:
        raise WeightError(
            "no layer of the model makes an image: fully-connected layers describe no image",
            where=path.name,
            received=", ".join(layer.name for layer in model.layers[:8]),
        )
    return source
