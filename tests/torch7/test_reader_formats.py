"""The reader against real Torch7 files in every serialisation variant.

`fixtures/formats/<variant>.json` was written by Torch itself: every tensor with path, shape,
stride, offset and sum, every string and number. `entry` says the same of what porter read.
"""

from __future__ import annotations

import json
import math
import re
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchfile

from porter.errors import Unsupported
from porter.torch7 import LuaBoolean, LuaFunction, Storage, Table, Tensor, TorchObject, read

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"
DESCRIBED = sorted(p.stem for p in FORMATS.glob("*.json") if p.stem != "bigendian")


def lua_name(key: Any) -> str:
    """A table key as the Lua script that wrote the descriptions spelt it."""
    if isinstance(key, str):
        return as_bytes(key)
    if isinstance(key, float):
        return f"{key:g}"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, LuaBoolean):
        return str(key.value).lower()
    return "<tensor>" if isinstance(key, Tensor) else "<table>"


def as_bytes(text: str) -> str:
    """The bytes of a Lua string as characters 0 to 255, which is how JSON holds them."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def children(value: Any) -> list[tuple[str, Any]]:
    """What is directly below a value, by the names that paths in the descriptions use."""
    if not isinstance(value, (Table, TorchObject)):
        return []
    items = value.items if isinstance(value, Table) else value.fields
    return [(lua_name(key), child) for key, child in items.items()]


def at_path(root: Any, path: str) -> list[Any]:
    """The values at `/modules/1/weight`; two, where a table has both 2 and "2" as keys."""
    found = [root]
    for step in path.split("/")[1:]:
        found = [child for value in found for name, child in children(value) if name == step]
    return found


def entry(value: Any) -> dict[str, Any] | None:
    """What a description says about `value`, less the path; None for what it leaves out."""
    match value:
        case bool() | float():
            return {"value": value}
        case str():
            return {"string": as_bytes(value)}
        case Tensor():
            return describe_tensor(value)
        case Storage(size=0):
            return {"class": value.typename, "size": 0}
        case Storage():
            values = value.array.tolist()
            return {"class": value.typename, "size": value.size, "values": values}
        case LuaFunction():
            return {"class": "function"}
        case TorchObject() if value.typename not in ("torch.Timer", "torch.Generator"):
            return {"class": value.typename}
    return None


def count_entries(value: Any, visited: set[int]) -> int:
    """How many entries a complete description of `value` has."""
    if id(value) in visited:
        return 1
    if isinstance(value, TorchObject) or (isinstance(value, Table) and value.typename == "table"):
        visited.add(id(value))
    own = entry(value) is not None
    return own + sum(count_entries(child, visited) for _, child in children(value))


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Sums in double precision; an empty tensor has neither stride nor offset."""
    head = {"class": tensor.typename, "shape": list(tensor.shape), "numel": tensor.numel}
    if not tensor.numel:
        return head
    assert tensor.storage is not None
    values = tensor.array.ravel().tolist()  # Python floats: NumPy warns of inf - inf
    return head | {
        "stride": list(tensor.stride),
        "offset": tensor.offset,
        "storage_size": tensor.storage.size,
        # From left to right, as Torch adds: sum() makes up for rounding since Python 3.12.
        "sum": reduce(add, values, 0.0),
        "abssum": reduce(add, map(abs, values), 0.0),
        "first": values[0],
        "last": values[-1],
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float):
        theirs = float(theirs)  # "nan" and "inf" are strings in JSON
        return math.isclose(ours, theirs, rel_tol=1e-6) or (math.isnan(ours) and math.isnan(theirs))
    return bool(ours == theirs)


def agrees(ours: dict[str, Any] | None, theirs: dict[str, Any]) -> bool:
    return (
        ours is not None
        and ours.keys() | {"path"} == theirs.keys()
        and all(same(value, theirs[name]) for name, value in ours.items())
    )


@pytest.mark.parametrize("variant", DESCRIBED)
def test_every_variant_reads_as_torch_describes_it(variant: str) -> None:
    description = json.loads((FORMATS / f"{variant}.json").read_text())
    file = read(FORMATS / f"{variant}.t7")
    assert file.size == description["bytes"]
    assert file.format == ("ascii" if "ascii" in description["load_mode"] else "binary")
    assert file.long_size == {"ascii": None, "b32": 4}.get(description["load_mode"], 8)
    for theirs in description["contents"]:
        found = at_path(file.root, theirs["path"])
        if "ref_to" in theirs:
            target = at_path(file.root, theirs["ref_to"].rstrip("/"))
            assert any(value is other for value in found for other in target), theirs
        else:
            assert any(agrees(entry(value), theirs) for value in found), (theirs, found)
    assert count_entries(file.root, set()) == len(description["contents"])


def test_big_endian_is_named() -> None:
    with pytest.raises(Unsupported, match="big-endian"):
        read(FORMATS / "bigendian.t7")


def test_an_ascii_file_holds_the_same_numbers() -> None:
    binary, text = (read(FORMATS / f"model_{kind}.t7").root for kind in ("binary", "ascii"))
    ours, theirs = (m.list("modules")[0].list("modules")[0] for m in (binary, text))
    assert ours.typename == theirs.typename
    for name, value in ours.fields.items():
        if isinstance(value, Tensor) and value.numel:
            np.testing.assert_allclose(theirs.tensor(name).array, value.array, rtol=1e-8)


def compare(ours: Any, theirs: Any, visited: set[int]) -> int:
    """How many tensors are equal in both trees; torchfile has bytes for strings."""
    if isinstance(ours, (Tensor, Storage)):
        if theirs is not None and ours.array.size:
            np.testing.assert_array_equal(ours.array, theirs)
        return 1
    if isinstance(ours, str):
        assert ours.encode("utf-8", "surrogateescape") in (theirs, getattr(theirs, "name", theirs))
    if id(ours) in visited or not isinstance(ours, (Table, TorchObject)):
        return 0
    visited.add(id(ours))
    items = ours.items if isinstance(ours, Table) else ours.fields
    theirs = theirs._obj if isinstance(ours, TorchObject) else theirs
    total = 0
    for key, value in items.items():
        if isinstance(key, (str, int)):
            name = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
            total += compare(value, theirs[name], visited)
    return total


# What torchfile 0.1.0 cannot read: ASCII, half precision, 4-byte longs, classes with an own body.
BEYOND_TORCHFILE = re.compile("ascii|half|b32|all_types|cuda_types|gpu|parallel")


@pytest.mark.parametrize(
    "variant",
    [v for v in DESCRIBED if v.startswith(("model", "te")) and not BEYOND_TORCHFILE.search(v)],
)
def test_torchfile_reads_the_same(variant: str) -> None:
    path = FORMATS / f"{variant}.t7"
    theirs = torchfile.load(str(path), use_list_heuristic=False)
    assert compare(read(path).root, theirs, set()) > 0
