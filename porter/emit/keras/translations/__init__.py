"""How each function of TensorFlow that layer maps call is written in keras.ops.

A translation takes the arguments by their TensorFlow names, and returns an expression, or the
argument that is handed on as it is. It says what all backends of Keras agree on:
sizes are integers, padding is spelled out, and the only layout is channels last.
"""

from porter.emit.keras.translations import arithmetic, axes, windows
from porter.emit.keras.translations.registry import TRANSLATIONS

__all__ = ["TRANSLATIONS", "arithmetic", "axes", "windows"]
