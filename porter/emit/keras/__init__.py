"""`model.keras` and `layers.py`: see `format.py`."""

from porter.emit.keras.format import FORMAT

__all__ = ["FORMAT"]
