"""What the reader promises its callers: sharing, views, typed fields, located errors."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.errors import (
    BadField,
    MissingField,
    PorterError,
    T7Error,
    Truncated,
    Unsupported,
    WrongFile,
    printable,
)
from porter.torch7 import (
    LuaBoolean,
    LuaFunction,
    Storage,
    Table,
    Tensor,
    TorchObject,
    read,
    read_bytes,
)
from porter.torch7.parse import MAX_DEPTH
from porter.torch7.path import format_path

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"


# --- sharing, views, laziness --------------------------------------------------------------------


def test_shared_weights_have_equal_keys_and_shared_modules_are_one_object() -> None:
    modules = read(FORMATS / "model_shared_weights.t7").root.list("modules")
    first, third = modules[0].tensor("weight"), modules[2].tensor("weight")
    assert first is not third
    assert first.key == third.key
    assert first.key != modules[0].tensor("bias").key
    assert len(set(map(id, modules))) < len(modules)


def test_tensors_are_read_only_views_of_the_data() -> None:
    data = (FORMATS / "root_tensor.t7").read_bytes()
    tensor = read_bytes(data).root
    assert np.shares_memory(tensor.array, np.frombuffer(data, np.uint8))
    assert not tensor.array.flags.writeable
    assert tensor.array.shape == tensor.shape


def test_flattened_parameters_share_one_storage() -> None:
    root = read(FORMATS / "model_flattened_params.t7").root
    branch = root.list("modules")[0].list("modules")[1]
    layers = [layer for layer in branch.list("modules") if "weight" in layer]
    weights = [layer.tensor("weight") for layer in layers]
    assert len({weight.storage for weight in weights}) == 1
    assert len({weight.key for weight in weights}) == len(weights) > 0


def objects(value: Any, visited: set[int]) -> list[TorchObject]:
    """All Torch objects in `value`, once each."""
    if id(value) in visited:
        return []
    if not isinstance(value, (Table, TorchObject)):
        return []
    visited.add(id(value))
    items = value.items if isinstance(value, Table) else value.fields
    below = [o for child in items.values() for o in objects(child, visited)]
    return [value, *below] if isinstance(value, TorchObject) else below


def test_sha256_and_trailing_bytes() -> None:
    clean, longer = (read(FORMATS / f"model_{n}.t7") for n in ("binary", "trailing_garbage"))
    assert (clean.trailing, longer.trailing) == (0, longer.size - clean.size)
    assert len(clean.sha256()) == 64
    assert clean.sha256() == read_bytes((FORMATS / "model_binary.t7").read_bytes()).sha256()


def test_reading_does_not_load_tensorflow() -> None:
    program = "import porter.torch7, sys; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


# --- classes that write their own body -----------------------------------------------------------


def test_nn_gpu_exposes_its_fields() -> None:
    gpu = read(FORMATS / "model_gpu_container.t7").root.list("modules")[1]
    assert gpu.typename == "nn.GPU"
    assert gpu.integer("device") == 1
    assert gpu.list("modules")[0].typename == "nn.Sequential"


@pytest.mark.parametrize("variant", ["model_data_parallel", "model_data_parallel_v1"])
def test_data_parallel_table_of_any_version_has_modules(variant: str) -> None:
    root = read(FORMATS / f"{variant}.t7").root
    parallel = next(o for o in objects(root, set()) if o.typename == "nn.DataParallelTable")
    assert parallel.list("modules")


def test_model_parallel_table_has_the_modules_that_stand_between_its_tables() -> None:
    root = read(FORMATS.parent / "layers" / "nn.ModelParallelTable" / "in_place.t7").root["module"]
    assert [child.typename for child in root.list("modules")] == ["nn.Sequential"] * 3
    assert root.integer("dimension") == 2


def test_functions_are_skipped_and_never_stored() -> None:
    function = read(FORMATS / "functions_only.t7").root.get("f")
    assert isinstance(function, LuaFunction)
    assert function.size > 0
    assert isinstance(function.upvalues, Table)
    assert not hasattr(function, "bytecode")


def test_class_versions() -> None:
    assert read(FORMATS / "model_legacy_unversioned.t7").root.version == 0
    assert read(FORMATS / "model_binary.t7").root.version == 1
    assert 12 in {m.version for m in read(FORMATS / "model_version_12.t7").root.list("modules")} | {
        read(FORMATS / "model_version_12.t7").root.version
    }


# --- tables and typed fields ---------------------------------------------------------------------


def test_a_lua_boolean_key_is_not_the_number_one() -> None:
    table = read(FORMATS / "table_keys.t7").root
    assert table[True] == "yes"
    assert table[1] == "one"
    assert True in table
    assert table.get("2") == "string two"
    assert table[2] == "two"
    assert len(table) == len(table.keys()) == 14


def test_a_list_with_a_hole_is_refused() -> None:
    assert Table(1, {1: "a", 2: "b", "n": 2}).list() == ["a", "b"]
    with pytest.raises(BadField, match="no entry 3") as caught:
        TorchObject("nn.Sequential", 1, 1, 0, {"modules": Table(2, {1: 1, 2: 2, 4: 4})}).list(
            "modules"
        )
    assert "nn.Sequential, field 'modules'" in str(caught.value)


@pytest.fixture
def linear() -> TorchObject:
    empty = Tensor("torch.FloatTensor", (), (), 0, None, 3, np.dtype(np.float32))
    storage = Storage("torch.LongStorage", np.array([3, 4]), 4, 0)
    fields = {"n": 3.0, "close": 2.9999999, "half": 0.5, "nan": math.nan, "on": True}
    return TorchObject(
        "nn.Linear", 1, 1, 0, fields | {"name": "fc", "empty": empty, "size": storage}
    )


def test_typed_fields(linear: TorchObject) -> None:
    assert linear.number("half") == 0.5
    assert linear.integer("n") == linear.integer("close") == 3
    assert linear.integer("half", cut=True) == 0  # as C takes a double for an int
    assert linear.integer("absent", 7) == 7
    assert linear.boolean("on") is True
    assert linear.boolean("absent") is False
    assert linear.boolean("n") is True  # as Lua's `if` takes a number, also 0
    assert linear.string("name") == "fc"
    assert linear.list("size") == [3, 4]
    assert linear.optional_tensor("empty") is None
    assert linear.optional_tensor("absent") is None
    assert "n" in linear
    assert "absent" not in linear


@pytest.mark.parametrize(
    ("getter", "name", "received"),
    [
        ("integer", "half", "the number 0.5"),
        ("integer", "nan", "the number nan"),
        ("number", "name", 'the string "fc"'),
        ("number", "on", "true"),
        ("tensor", "n", "the number 3"),
        ("tensor", "empty", "an empty torch.FloatTensor"),
        ("table", "size", "a torch.LongStorage of 2 elements"),
        ("object", "empty", "an empty torch.FloatTensor"),
        ("string", "n", "the number 3"),
    ],
)
def test_bad_fields_name_class_field_and_value(
    linear: TorchObject, getter: str, name: str, received: str
) -> None:
    with pytest.raises(BadField) as caught:
        getattr(linear, getter)(name)
    caught.value.where = "model.3"
    assert f"model.3: nn.Linear, field '{name}'" in str(caught.value)
    assert f"Received: {received}" in str(caught.value)


def test_a_missing_field_lists_those_that_exist(linear: TorchObject) -> None:
    with pytest.raises(MissingField, match=r"nn\.Linear has no field 'weight'") as caught:
        linear.tensor("weight")
    assert "close, empty, half" in str(caught.value)
    assert caught.value.exit_code == 4


# --- errors --------------------------------------------------------------------------------------


def test_a_truncated_file_says_where_in_the_tree_and_in_the_file() -> None:
    data = (FORMATS / "model_binary.t7").read_bytes()
    with pytest.raises(Truncated) as caught:
        read_bytes(data[:-1], "model.t7")
    assert caught.value.object_path == "root._type"
    assert caught.value.offset == len(data) - 17
    assert str(caught.value).startswith("model.t7, root._type, byte 6,660: The file ends")


@pytest.mark.parametrize("cut", range(0, 6676, 101))
def test_every_prefix_is_refused(cut: int) -> None:
    data = (FORMATS / "model_binary.t7").read_bytes()
    with pytest.raises((Truncated, WrongFile)):
        read_bytes(data[:cut])


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(T7Error, match="no such file") as caught:
        read(tmp_path / "absent.t7")
    assert caught.value.exit_code == 3
    with pytest.raises(T7Error, match="directory"):
        read(tmp_path)
    with pytest.raises(T7Error, match="cannot be opened"):
        read("nul\0byte.t7")
    (tmp_path / "secret.t7").write_bytes(b"\1")
    (tmp_path / "secret.t7").chmod(0)
    with pytest.raises(T7Error, match=r"cannot be opened|Truncated|file ends"):  # root may open it
        read(tmp_path / "secret.t7")


def nested_tables(depth: int) -> bytes:
    """`{{{ ... }}}`: each table holds the next at key 1, the last is empty."""
    inner = b"".join(
        struct.pack("<iii", 3, index, 1) + struct.pack("<id", 1, 1.0) for index in range(1, depth)
    )
    return inner + struct.pack("<iii", 3, depth, 0)


def test_nesting_is_bounded_without_recursion() -> None:
    table = read_bytes(nested_tables(MAX_DEPTH - 1)).root
    for _ in range(MAX_DEPTH - 2):
        table = table[1]
    assert len(table) == 0
    with pytest.raises(Unsupported, match="nested more than"):
        read_bytes(nested_tables(1_000_000))


def test_messages_cannot_control_the_terminal() -> None:
    assert printable("a\x1b[2J\u202e\udcff") == "a\\x1b[2J\\u202e\\udcff"
    assert len(printable("x" * 10_000)) < 200
    error = PorterError("bad \x07 name\nnext", where="model\x1b", received="\x9b", hint="do so")
    assert str(error) == "model\\x1b: bad \\x07 name\nnext\nReceived: \\x9b\ndo so"


def test_object_paths() -> None:
    assert format_path(["modules", 3, "", "weight"]) == "root.modules[3].weight"
    assert format_path(["model", LuaBoolean.TRUE, 1.5]) == "root.model[true][1.5]"
    assert "(88 more)" in format_path(list(range(100)))
