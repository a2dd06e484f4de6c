"""Files that are damaged, hostile or no Torch7 files: a clear error, quickly, and nothing else.

`fixtures/hostile/INDEX.json` says of each file what is wrong and what is acceptable. Files of
kind "semantic" are sound for the reader; refusing them is the walker's work.
"""

from __future__ import annotations

import gc
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.errors import Corrupt, T7Error, Truncated, Unsupported, WrongFile
from porter.torch7 import Tensor, cursor, read, read_bytes
from tests.fuzz import fuzz_reader
from tests.fuzz.harness import loop

FIXTURES = Path(__file__).parents[2] / "fixtures"
HOSTILE = FIXTURES / "hostile"
INDEX = json.loads((HOSTILE / "INDEX.json").read_text())["files"]

pytestmark = pytest.mark.usefixtures("ends")

# Kind "format", but the reader has nothing to refuse: legal, or legal for it.
LOADS = {
    "binary_high_bit_stripped.t7",  # only weights changed
    "class_name_path.t7",  # an unknown class, and names are never used as paths
    "function_malicious_bytecode.t7",
    "function_source_text.t7",
    "ref_index_maxint.t7",
    "reference_bomb_10pow30.t7",  # small, as long as nobody walks it without a memory
    "table_duplicate_keys.t7",
    "table_inf_key.t7",
    "table_key_is_itself.t7",
}


@pytest.mark.parametrize("case", INDEX, ids=[case["file"] for case in INDEX])
def test_hostile_file(case: dict[str, str]) -> None:
    path = HOSTILE / case["file"]
    if case["kind"] in ("semantic", "control") or case["file"] in LOADS:
        read(path)
    else:
        with pytest.raises(T7Error) as caught:
            read(path)
        text = str(caught.value)
        assert caught.value.exit_code == 3
        assert case["file"] in text
        assert len(text) < 1_000
        assert text.replace("\n", "").isprintable()


def test_pickles_are_never_unpickled() -> None:
    marker = Path("/tmp/t7_pickle_was_executed")
    with pytest.raises(WrongFile, match="pickle"):
        read(HOSTILE / "pickle_exec.t7")
    assert not marker.exists()


def test_duplicate_keys_keep_the_last_value() -> None:
    assert len(read(HOSTILE / "table_duplicate_keys.t7").root) == 1


# --- nesting -------------------------------------------------------------------------------------

TABLE, TORCH = 3, 4


def text(value: str) -> bytes:
    return struct.pack("<i", len(value)) + value.encode()


def header(index: int, typename: str) -> bytes:
    """The start of a Torch object."""
    return struct.pack("<ii", TORCH, index) + text("V 1") + text(typename)


def nested_through_keys(depth: int) -> bytes:
    return b"".join(struct.pack("<iii", TABLE, i, 1) for i in range(1, depth + 1))


def nested_sequentials(depth: int) -> bytes:
    one = struct.pack("<id", 1, 1.0)
    return b"".join(
        header(3 * i + 1, "nn.Sequential")
        + struct.pack("<iii", TABLE, 3 * i + 2, 1)
        + struct.pack("<i", 2)
        + text("modules")
        + struct.pack("<iii", TABLE, 3 * i + 3, 1)
        + one
        for i in range(depth)
    )


def nested_tensors(depth: int) -> bytes:
    """Each tensor has the next as its storage."""
    shape = struct.pack("<iq", 0, 1)
    return b"".join(header(i, "torch.FloatTensor") + shape for i in range(1, depth + 1))


def nested_functions(depth: int) -> bytes:
    """Each function has the next as its upvalues (kind 8, no bytecode)."""
    return b"".join(struct.pack("<iii", 8, i, 0) for i in range(1, depth + 1))


@pytest.mark.parametrize(
    "write", [nested_through_keys, nested_sequentials, nested_tensors, nested_functions]
)
def test_nesting_a_million_deep_is_refused(write: object) -> None:
    data = write(1_000_000 if write is not nested_sequentials else 100_000)  # type: ignore[operator]
    with pytest.raises((Unsupported, Corrupt)) as caught:
        read_bytes(data)
    assert len(str(caught.value)) < 1_000


# --- numbers that name more than there is --------------------------------------------------------


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int, storage: int) -> bytes:
    """A FloatTensor over a storage of `storage` zeros; `offset` is 1-based, as in the file."""
    n = len(shape)
    return (
        header(1, "torch.FloatTensor")
        + struct.pack(f"<i{n}q{n}qq", n, *shape, *stride, offset)
        + header(2, "torch.FloatStorage")
        + struct.pack("<q", storage)
        + bytes(4 * storage)
    )


WINDOWS = st.tuples(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=4),
    st.integers(-2, 12),
    st.integers(0, 40),
)


@given(WINDOWS)
def test_a_window_is_accepted_exactly_if_it_lies_in_the_storage(
    window: tuple[list[tuple[int, int]], int, int],
) -> None:
    dimensions, offset, size = window
    shape, stride = tuple(d for d, _ in dimensions), tuple(s for _, s in dimensions)
    last = offset - 1 + sum((d - 1) * s for d, s in dimensions)
    data = tensor(shape, stride, offset, size)
    if offset >= 1 and last < size:
        root = read_bytes(data).root
        assert isinstance(root, Tensor)
        assert root.array.shape == shape
        assert root.array.sum() == 0
    else:
        with pytest.raises(Corrupt):
            read_bytes(data)


def test_expanding_one_number_to_terabytes_is_refused() -> None:
    assert read_bytes(tensor((1_000, 1_000), (0, 0), 1, 1)).root.array.shape == (1_000, 1_000)
    with pytest.raises(Corrupt, match="more elements"):
        read_bytes(tensor((2**20, 2**20), (0, 0), 1, 1))


@pytest.mark.parametrize("missing", [1, 4, 8, 16])
def test_a_cut_storage_is_not_taken_for_one_with_4_byte_longs(missing: int) -> None:
    data = header(1, "torch.FloatStorage") + struct.pack("<q4f", 4, 0, 1, 2, 3)
    assert read_bytes(data).root.size == 4
    with pytest.raises(Truncated):
        read_bytes(data[:-missing])


@pytest.mark.parametrize(
    "word", [b"9" * 1_000_000, b"9" * 1_000_000 + b"x ", b" " * 1_000_000 + b"x ", b"1_0 ", b"0x1 "]
)
def test_odd_words_in_ascii_files_are_refused(word: bytes) -> None:
    with pytest.raises((Corrupt, Truncated)):
        read_bytes(b"1\n" + word)


def test_ascii_numbers_beyond_their_type() -> None:
    floats = b"4\n1\n3\nV 1\n18\ntorch.FloatStorage\n3\n1e300 -inf nan\n"
    np.testing.assert_array_equal(read_bytes(floats).root.array, [np.inf, -np.inf, np.nan])
    shorts = b"4\n1\n3\nV 1\n18\ntorch.ShortStorage\n1\n70000\n"
    with pytest.raises(Corrupt, match="does not fit int16"):
        read_bytes(shorts)


# --- other kinds of files ------------------------------------------------------------------------

ZIP = b"PK\x03\x04\x14\x00\x00\x00\x00\x00" + bytes(16)

WRONG_FILES = {
    "PyTorch checkpoint (pickle)": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    "pickle": b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01",
    "pickle (a PyTorch": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00",
    "PyTorch checkpoint (zip": ZIP + b"\x10\x00\x00\x00archive/data.pkl",
    "Keras model": ZIP + b"\x0d\x00\x00\x00metadata.json{}",
    "NumPy archive": ZIP + b"\x09\x00\x00\x00arr_0.npy",
    "zip archive": ZIP + b"\x09\x00\x00\x00hello.txt",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(8),
    "SavedModel": b"\x08\x01\x12\xa9\x05\x0a\x20\x0a\x0a",
    "TensorFlow graph": b"\x0a\x36\x0a\x05input\x12\x0bPlaceholder*\x0b",
    "ONNX": b"\x08\x07\x12\x07pytorch\x1a\x031.9",
    "Caffe model": b"\x0a\x08VGG_ILSV\x12\x04data",
    "Caffe prototxt": b'name: "AlexNet"\nlayer {\n  name: "data"\n}\n',
    "safetensors": struct.pack("<Q", 64) + b'{"weight":{"dtype":"F32"',
    "NumPy array": b"\x93NUMPY\x01\x00",
    "git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
    "web page": b"<!DOCTYPE html><html><head>",
    "JSON": b'{"message": "Not Found"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00\x00",
    "tar": b"model.t7".ljust(257, b"\0") + b"ustar\x0000",
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "RAR": b"Rar!\x1a\x07\x01\x00",
    "Lua source": b"require 'nn'\nlocal net = nn.Sequential()\n",
    "LuaJIT bytecode": b"\x1bLJ\x02\x0a",
    "Lua bytecode": b"\x1bLuaQ\x00\x01",
    "PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "GIF": b"GIF89a\x01\x00",
    "BMP": b"BM\x36\x00\x0c\x00",
    "WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
    "PDF": b"%PDF-1.4\n",
    "text file": "Modèle à télécharger ici\n".encode(),
    "Unicode text": "torch".encode("utf-16"),
    "empty file": b"",
    "zero bytes": bytes(64),
    "object type from 0 to 8": b"\xde\xad\xbe\xef\x00\x11",
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files_are_named_with_a_next_step(kind: str) -> None:
    with pytest.raises(WrongFile) as caught:
        read_bytes(WRONG_FILES[kind], "model.t7")
    assert kind in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


# --- mutations of real files ---------------------------------------------------------------------

SEEDS = [
    (FIXTURES / "formats" / f"{name}.t7").read_bytes()
    for name in ("model_binary", "model_ascii", "model_b32", "tds_hash_vec", "functions_only",
                 "tensors_views", "table_keys", "model_gpu_container", "value_timer_generator")
]  # fmt: skip
MUTATION = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "cut"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
)


def mutate(data: bytes, kind: str, place: float, material: bytes) -> bytes:
    at = int(place * len(data))
    if kind == "cut":
        return data[:at]
    if kind == "delete":
        return data[:at] + data[at + len(material) :]
    keep = at if kind == "insert" else at + len(material)
    return data[:at] + material + data[keep:]


CALLS_A_BYTE, CALLS_A_FILE = 6, 1_000
"""Function calls, Python's and C's, that reading may take: twice the most of 20,000 mutations."""


@settings(max_examples=200)
@given(st.sampled_from(SEEDS), st.lists(MUTATION, min_size=1, max_size=4))
def test_mutated_files_give_typed_errors_in_a_bounded_number_of_steps(
    data: bytes, mutations: list[tuple[str, float, bytes]]
) -> None:
    for mutation in mutations:
        data = mutate(data, *mutation)
    calls = calls_of(lambda: fuzz_reader.one(data))
    assert calls <= CALLS_A_BYTE * len(data) + CALLS_A_FILE


def calls_of(work: Callable[[], object]) -> int:
    """How many functions the reader calls. Steps are counted: seconds depend on the machine."""
    calls, reader = 0, str(Path(cursor.__file__).parent)

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call") and frame.f_code.co_filename.startswith(reader)

    before = sys.getprofile()
    gc.disable()  # or what other tests left would be counted when it is collected here
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


def test_the_fuzzer_finds_nothing_in_a_short_run(tmp_path: Path) -> None:
    assert loop(fuzz_reader.one, fuzz_reader.cases(1_000, seed=0), "reader", tmp_path) == 0
