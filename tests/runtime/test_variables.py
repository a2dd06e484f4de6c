"""Large parameters are converted piece by piece, and let go of the file's pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.ir.fields import Param
from porter.runtime.runner import MAX_BYTES, Variables
from porter.torch7 import read
from porter.torch7.mapped import release
from tests.build import randn, sequential, torch_module
from tests.write_t7 import write_t7

ORDER = tuple(np.random.default_rng(0).permutation(12).tolist())


@pytest.mark.parametrize(
    ("axes", "to", "shape", "rows"),
    [
        ("OI", "IO", (10, 12), ()),
        ("OI", "IO", (10, 12), ORDER),
        ("IO", "IO", (12, 7), ORDER),
        ("OIHW", "HWIO", (8, 5, 3, 3), ()),
        ("O", "O", (40,), ()),
    ],
)
def test_pieces_are_the_whole(
    axes: str,
    to: str,
    shape: tuple[int, ...],
    rows: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    param = Param("weight", randn(*shape), axes, to, "key")
    whole = Variables().get("1", param, rows).numpy()
    monkeypatch.setattr("porter.runtime.runner.MAX_BYTES", 37)
    pieces = Variables().get("1", param, rows)
    np.testing.assert_array_equal(pieces.numpy(), whole)
    assert pieces.name == "1.weight:0"


def test_what_is_let_go_is_read_again(tmp_path: Path) -> None:
    weight = randn(64, 1_000)
    net = sequential(torch_module("nn.Linear", weight=weight, bias=randn(64)))
    loaded = read(write_t7(tmp_path / "net.t7", net))
    array = loaded.root.table("modules").items[1].tensor("weight").array
    release(array[3:5])
    release(array)
    release(array.T)
    release(weight)  # not in a file
    np.testing.assert_array_equal(array, weight)


def test_a_large_variable_is_read_without_a_copy() -> None:
    """Filled in pieces; TensorFlow copies a variable that was, at every read from then on."""
    array = np.random.default_rng(0).standard_normal((1024, 5000)).astype(np.float32)
    variable = Variables().get("1", Param("weight", array, "OI", "IO", "key"), ())
    np.testing.assert_array_equal(variable.numpy(), array.T)
    assert array.nbytes > MAX_BYTES
    tensors = [variable.read_value() for _ in range(2)]
    places = {np.asarray(memoryview(each)).ctypes.data for each in tensors}
    assert len(places) == 1
