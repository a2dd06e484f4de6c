"""A network of keras.applications by name, `keras:vgg19`: Keras downloads and checks its weights.

They are kept where Keras keeps them, `~/.keras/models` or `$KERAS_HOME/models`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources.keras_model import KerasModelSource
from porter.errors import UsageError, WeightError
from porter.imaging.presets import RESNET, VGG, PixelEncoding

SYMMETRIC = PixelEncoding("RGB", (-1.0, 1.0))
LEVELS = PixelEncoding("RGB", (0.0, 255.0))
ENCODINGS = {  # the longest name that a network's name begins with
    "VGG": VGG,
    "ResNet": VGG,
    "ResNet50V2": SYMMETRIC,
    "ResNet101V2": SYMMETRIC,
    "ResNet152V2": SYMMETRIC,
    "Inception": SYMMETRIC,
    "Xception": SYMMETRIC,
    "MobileNet": SYMMETRIC,
    "MobileNetV3": LEVELS,
    "NASNet": SYMMETRIC,
    "DenseNet": RESNET,
    "EfficientNet": LEVELS,
    "ConvNeXt": LEVELS,
}
"""What each network is fed (`preprocess_input` in keras/src/applications/)."""


class Application(KerasModelSource):
    """A network whose encoding Keras's documentation says."""

    @property
    def preprocessing(self) -> PixelEncoding | None:
        return encoding(self.file)


def open_application(name: Path, opening: Opening) -> Application:
    """The network of `keras:NAME`, without its head.

    Raises UsageError for other names, WeightError where its weights cannot be had.
    """
    from porter.system.tensorflow import tf

    keras = tf.keras
    names = {each.lower(): each for each in dir(keras.applications) if encoding(each) is not None}
    requested = str(name).partition(":")[2].lower()
    if requested not in names:
        raise UsageError(
            f"Keras has no network '{requested}'", hint="networks: " + ", ".join(sorted(names))
        )
    application = names[requested]
    try:
        # Keras draws the download's progress on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            model = getattr(keras.applications, application)(weights="imagenet", include_top=False)
    except Exception as error:  # get_file raises Exception itself
        raise unavailable(application, error) from error
    return Application(model, application)


def encoding(application: str) -> PixelEncoding | None:
    """What a network is fed, None for what is no network."""
    found = [prefix for prefix in ENCODINGS if application.startswith(prefix)]
    return ENCODINGS[max(found, key=len)] if found else None


def unavailable(application: str, error: Exception) -> WeightError:
    """Which file is missing, and where Keras would look for it."""
    from porter.system.tensorflow import tf

    text = " ".join(str(error).split())
    address = next((word.rstrip(":") for word in text.split() if word.startswith("http")), "")
    file = address.rpartition("/")[2] or f"the weights of {application} without top"
    folder = Path(home(tf.keras)) / "models"
    return WeightError(
        f"Keras cannot download the weights of {application}",
        received=text[:200],
        hint=f"put {file} into {folder}; or give a file of another format with `descriptor=`",
    )


def home(keras: Any) -> str:
    """Keras's folder: `$KERAS_HOME`, or `~/.keras`."""
    return os.environ.get("KERAS_HOME") or str(Path.home() / ".keras")
