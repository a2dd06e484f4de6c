"""Keras, imported as quietly as TensorFlow, which it brings along."""

from __future__ import annotations

import warnings
from typing import Any

import porter.system.tensorflow  # noqa: F401  (its log is kept off the terminal)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras as imported

keras: Any = imported
