"""Pickled arrays are read as data: nothing that a file names is called."""

from __future__ import annotations

import io
import os
import pickle
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.lib import format as npy

from porter.apps.transfer.sources import safe_unpickle
from porter.apps.transfer.sources.safe_unpickle import Forbidden, Malformed, loads, read_arrays
from porter.errors import WeightError
from tests.build import FIXTURES

Array = npt.NDArray[Any]

HEADER = b"\x93NUMPY\x01\x00"


def weights() -> dict[str, Any]:
    """What such files hold, in every spelling."""
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    return {
        "conv1_1": [kernel, np.arange(2, dtype=np.float64)],
        "conv1_2": (np.asfortranarray(kernel), None),
        "conv2_1": {"weights": kernel.astype(">f4"), "biases": np.zeros((0,), np.float16)},
        "other": OrderedDict(a=np.float32(1.5), b=3, c="name", d=True, e=2**70, f=[kernel, kernel]),
        "bytes": b"\xff\x00",
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of containers hold the same."""
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(other, np.ndarray):
        return (
            one.dtype == other.dtype.newbyteorder("=")
            and one.shape == other.shape
            and (one == other).all()
        )
    return bool(one == other)


def saved(content: Any, folder: Path) -> Path:
    """A file as np.save writes it."""
    path = folder / "weights.npy"
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_gives_what_pickle_gives(protocol: int) -> None:
    data = pickle.dumps(weights(), protocol)
    assert equal(loads(io.BytesIO(data)), pickle.loads(data))


def test_a_file_of_numpy_gives_what_numpy_gives(tmp_path: Path) -> None:
    path = saved(weights(), tmp_path)
    assert equal(read_arrays(path), np.load(path, allow_pickle=True).item())


def test_strings_of_python_2_are_bytes_of_arrays(tmp_path: Path) -> None:
    """`np.save` of Python 2.7 and NumPy 1.11, protocol 0: `{'conv1': [array([1.5], '<f4')]}`."""
    data = (
        b"(dp0\nS'conv1'\np1\n(lp2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\n"
        b"p4\n(I0\ntp5\nS'b'\np6\ntp7\nRp8\n(I1\n(I1\ntp9\ncnumpy\ndtype\np10\n(S'f4'\np11\n"
        b"I0\nI1\ntp12\nRp13\n(I3\nS'<'\np14\nNNNI-1\nI-1\nI0\ntp15\nbI00\n"
        b"S'\\x00\\x00\\xc0?'\np16\ntp17\nbas."
    )
    assert equal(loads(io.BytesIO(data)), {"conv1": [np.array([1.5], "<f4")]})


class Calls:
    """Pickled as a call of `os.system`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_named_but_not_executed(protocol: int, tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match=r"(posix|nt|os)\.system"):
        loads(io.BytesIO(pickle.dumps({"conv1_1": Calls()}, protocol)))
    path = saved({"conv1_1": Calls()}, tmp_path)
    with pytest.raises(WeightError, match="would run code"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ((1, (4,), "f4", False, b"123"), "without a plain dtype"),
        ((1, (2**62,), np.dtype("f4"), False, b"1234"), "4 bytes for"),
        ((1, (-1,), np.dtype("f4"), False, b""), "the shape"),
        ((1, (1,), np.dtype("O"), False, b"12345678"), "array of objects"),
        ((1, (1,), np.dtype([("a", "f4")]), False, b"1234"), "a dtype"),
        ((1, (1,), np.dtype("M8[s]"), False, b"12345678"), "a dtype"),
    ],
)
def test_a_forged_state_is_refused(state: tuple[Any, ...], why: str) -> None:
    class Forged:
        def __reduce__(self) -> tuple[Any, ...]:
            make = np.zeros(1).__reduce__()[0]
            return make, (np.ndarray, (0,), b"b"), state

    with pytest.raises(Malformed, match=why):
        loads(io.BytesIO(pickle.dumps(Forged(), 2)))


def test_a_forged_dtype_does_not_reach_numpy() -> None:
    """324 bytes that made NumPy follow a pointer of the file's choice."""
    with pytest.raises(WeightError, match="NumPy writes for no array") as caught:
        read_arrays(FIXTURES / "hostile_descriptors" / "forged_dtype.npy")
    assert caught.value.received == "a dtype with fields"


def test_a_shape_larger_than_the_file_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npy"
    with path.open("wb") as file:
        npy.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
        )
    with pytest.raises(WeightError, match="fewer bytes"):
        read_arrays(path)


@pytest.mark.parametrize("protocol", range(6))
def test_any_bytes_are_data_or_an_error(protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutated bytes never call anything, and end in one of the errors that are handled."""
    generator = random.Random(protocol)
    data = pickle.dumps(weights(), protocol)
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            mutated[generator.randrange(len(mutated))] = generator.randrange(256)
        try:
            loads(io.BytesIO(bytes(mutated)))
        except (Forbidden, Malformed, ValueError, IndexError, KeyError, TypeError, OverflowError):
            continue
        except (UnicodeError, AttributeError) as error:
            pytest.fail(f"{type(error).__name__}: {error}")


def test_names_are_never_imported() -> None:
    assert not hasattr(safe_unpickle, "pickle")
