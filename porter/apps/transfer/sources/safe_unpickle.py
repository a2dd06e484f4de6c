"""Read an `.npy` file whose content was pickled, without running what it asks for.

`np.load(allow_pickle=True)` calls whatever function the file names. Here a file may name NumPy's
constructors of arrays and nothing else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from porter.apps.transfer.checks import WeightError

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}
"""What a pickled array needs. `_codecs.encode` turns the bytes of Python 2 files into bytes."""


class Forbidden(Exception):
    """A name that no array needs."""


class Restricted(pickle.Unpickler):
    """An unpickler that knows NumPy's arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise Forbidden(f"{module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: Path) -> Any:
    """The array in an `.npy` file, or the dict that was pickled into it. Raises WeightError."""
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            _, _, dtype = read(file)
            if dtype.hasobject:
                # latin1 maps every byte of Python 2's strings to a character of its own.
                held = Restricted(file, encoding="latin1").load()
                return held.item() if isinstance(held, np.ndarray) and held.shape == () else held
        return np.load(path, allow_pickle=False)
    except Forbidden as error:
        raise WeightError(
            "the file would run code when it is loaded; nothing of it was run",
            where=path.name,
            received=f"it calls {error}",
            hint="weights need nothing but NumPy's arrays: do not trust this file",
        ) from error
    except Exception as error:  # an unpickler fails in every way there is
        raise WeightError(
            "the file is truncated or damaged",
            where=path.name,
            received=str(error) or type(error).__name__,
            hint="download it again, and compare the size with the server's",
        ) from error
