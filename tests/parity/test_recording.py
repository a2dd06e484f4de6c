"""Recorded activations, as `.t7` and as `.npz`."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.errors import BadField, BadTable, T7Error, TooLarge, WrongFile
from porter.parity.recording import Summary, read
from porter.runtime import memory
from tests.build import FIXTURES, Array, lua, randn, storage, table, torch_module
from tests.write_t7 import write_t7


def record(path: str, output: Any = None, **fields: Any) -> Any:
    return table(path=path, type="nn.ReLU", output=output, **fields)


def recording(*records: Any, **fields: Any) -> Any:
    header = {"format": "torch7-activations", "version": 1, "input": randn(2, 3)}
    return lua(header | {"records": list(records)} | fields)


def test_a_t7_recording_gives_outputs_by_path_and_call(tmp_path: Path) -> None:
    root = recording(
        record("1", randn(2, 3, seed=1)),
        record("1", randn(2, 3, seed=2), call=2),
        record("2.1", [randn(2), randn(3)]),
        record("", table(b=randn(2), a=randn(3))),
        output=randn(2, 4),
    )
    found = read(write_t7(tmp_path / "activations.t7", root))
    assert list(found.outputs) == [("1", 1), ("1", 2), ("2.1", 1), ("", 1)]
    np.testing.assert_array_equal(np.asarray(found.outputs["1", 2]), randn(2, 3, seed=2))
    pair = found.outputs["2.1", 1]
    assert isinstance(pair, list)
    assert [np.asarray(each).shape for each in pair] == [(2,), (3,)]
    named = found.outputs["", 1]
    assert isinstance(named, dict)
    assert set(named) == {"a", "b"}
    assert found.types["1"] == "nn.ReLU"
    np.testing.assert_array_equal(np.asarray(found.input), randn(2, 3))
    np.testing.assert_array_equal(np.asarray(found.output), randn(2, 4))


def test_a_recording_of_real_torch() -> None:
    found = read(FIXTURES / "nets" / "lenet_mm_tanh" / "activations.t7")
    assert len(found.outputs) == 12
    assert np.asarray(found.input).shape == (1, 32, 32)
    assert np.asarray(found.outputs["11", 1]).shape == (10,)
    assert found.types["11"] == "nn.LogSoftMax"


@pytest.mark.parametrize("shape", [[2, 300], storage(np.array([2, 300]))], ids=["table", "storage"])
def test_summaries_stand_for_large_activations(tmp_path: Path, shape: Any) -> None:
    summary = table(shape=shape, absmax=3, mean=0.5, abssum=100)
    root = recording(record("1", summary=summary))
    found = read(write_t7(tmp_path / "activations.t7", root))
    assert found.outputs == {}
    assert found.summaries == {("1", 1): Summary((2, 300), 3.0, 0.5, 100.0)}


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "activations.t7", recording(version=2))
    with pytest.raises(T7Error, match="of another version") as caught:
        read(path)
    assert caught.value.received == "2.0"
    assert "porter record" in str(caught.value.hint)


def test_a_record_without_path_is_refused(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "activations.t7", recording(record("1", randn(2)), table(output=1)))
    with pytest.raises(BadTable, match=r"record 2 of .* names no path"):
        read(path)


def test_a_record_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "activations.t7", recording(record("1", "text")))
    with pytest.raises(BadField, match="record 1 should be a tensor"):
        read(path)


def test_a_summary_without_shape_is_refused(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "activations.t7", recording(record("1", summary=table(mean=1))))
    with pytest.raises(BadTable, match="has no shape"):
        read(path)


def test_a_t7_with_a_module_is_no_recording(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "model.t7", torch_module("nn.ReLU"))
    with pytest.raises(WrongFile, match="holds no recorded activations") as caught:
        read(path)
    assert caught.value.received == "an object of class nn.ReLU"


def test_a_t7_with_one_tensor_is_an_output(tmp_path: Path) -> None:
    found = read(write_t7(tmp_path / "output.t7", lua(randn(2, 3))))
    assert found.input is None
    np.testing.assert_array_equal(np.asarray(found.output), randn(2, 3))


# .npz ---------------------------------------------------------------------------------------------


def npz(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_an_npz_recording_gives_the_same(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "activations.npz",
        **{
            "input": randn(2, 3),
            "output": randn(4),
            "1": randn(5),
            "1#2": randn(6),
            "2.1": randn(7),
        },
    )
    found = read(path)
    assert np.asarray(found.input).shape == (2, 3)
    assert np.asarray(found.output).shape == (4,)
    assert {key: np.asarray(array).shape for key, array in found.outputs.items()} == {
        ("1", 1): (5,),
        ("1", 2): (6,),
        ("2.1", 1): (7,),
    }


def test_an_npz_with_a_pickled_object_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("executed",)

    path = npz(tmp_path / "activations.npz", input=np.array([Bomb()], object))
    with pytest.raises(T7Error, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 damaged"])
def test_a_damaged_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "activations.npz"
    path.write_bytes(content)
    with pytest.raises(T7Error, match="cannot be read") as caught:
        read(path)
    assert caught.value.where == str(path)


def test_a_single_array_is_no_recording(tmp_path: Path) -> None:
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, randn(3))
    with pytest.raises(T7Error, match="one array and no names"):
        read(tmp_path / "array.npz")


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "activations.npz", input=randn(20, 30))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(T7Error, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("key", ["1#second", "1#", "#"])
def test_a_call_that_is_no_number_is_refused_or_the_first(tmp_path: Path, key: str) -> None:
    path = npz(tmp_path / "activations.npz", **{"input": randn(2), key: randn(3)})
    if key.endswith("second"):
        with pytest.raises(T7Error, match="cannot be read"):
            read(path)
    else:
        assert list(read(path).outputs) == [(key.rstrip("#"), 1)]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in ("none.npz", "none.t7"):
        with pytest.raises(T7Error, match="no such file") as caught:
            read(tmp_path / name)
        assert re.search(re.escape(name), str(caught.value))


# Hostile recordings -------------------------------------------------------------------------------


def test_a_call_that_is_no_number_is_refused(tmp_path: Path) -> None:
    for call in ("one", float("nan"), 1.5):
        root = recording(record("1", randn(2), call=call))
        with pytest.raises(BadTable, match="numbers its call by no integer"):
            read(write_t7(tmp_path / "activations.t7", root))


def test_a_summary_of_words_is_refused(tmp_path: Path) -> None:
    root = recording(record("1", summary=table(shape=[2, 2], absmax="large")))
    with pytest.raises(BadTable, match="should hold numbers"):
        read(write_t7(tmp_path / "activations.t7", root))
    root = recording(record("1", summary=table(shape=[float("inf")], absmax=1.0)))
    with pytest.raises(BadField, match="should hold integers"):
        read(write_t7(tmp_path / "activations.t7", root))


def test_tables_that_never_end_are_refused(tmp_path: Path) -> None:
    endless = table(randn(2))
    endless.items[2] = endless
    with pytest.raises(BadTable, match="inside itself"):
        read(write_t7(tmp_path / "activations.t7", recording(record("1", endless))))
    bomb = table(randn(2))
    for _ in range(30):
        bomb = table(*[bomb] * 10)
    with pytest.raises(BadTable, match="more than 100,000 tensors"):
        read(write_t7(tmp_path / "activations.t7", recording(record("1", bomb))))


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
def test_an_input_without_elements_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "x.npz", input=np.zeros(shape, np.float32))
    with pytest.raises(BadField, match="should have elements"):
        read(tmp_path / "x.npz")


def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", output=np.array(["a", "b"]))
    with pytest.raises(BadField, match="tensor of numbers"):
        read(tmp_path / "x.npz")


def test_an_archive_larger_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", output=np.zeros(100_000, np.float32))
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    with pytest.raises(TooLarge, match="unpacks to"):
        read(tmp_path / "x.npz")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000), }"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("output.npy", npy + b"1234")
    with pytest.raises(T7Error, match="cannot be read"):
        read(tmp_path / "x.npz")
