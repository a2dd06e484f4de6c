"""Keras files are read before Keras is: anything but plain layers is refused, and nothing runs."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from porter.apps.transfer.source import Opening
from porter.apps.transfer.sources import open_file
from porter.emit.keras_files import require_known
from porter.errors import OutOfMemory, PorterError, UnsafeFile, UsageError, WeightError
from porter.runtime import memory
from porter.system.tensorflow import tf
from tests.build import FIXTURES

HOSTILE = FIXTURES / "hostile_descriptors"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of wrappers, cells, submodels, initialisers and an operator between its layers."""
    k = tf.keras.layers
    x = image = tf.keras.Input((8, 8, 3))
    x = k.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2")(x)
    x = k.BatchNormalization()(k.Conv2D(4, 1, bias_initializer=tf.keras.initializers.Ones())(x) + x)
    x = tf.keras.Sequential([k.ZeroPadding2D(1), k.LeakyReLU(0.1), k.Rescaling(2.0)])(x)
    rows = k.TimeDistributed(k.Bidirectional(k.RNN(k.LSTMCell(4))))(x)
    model = tf.keras.Model(image, [x, rows])
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    model.save(path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(target: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    return target


def test_plain_models_are_accepted(plain: Path, tmp_path: Path) -> None:
    assert require_known(plain) == frozenset()
    legacy = tmp_path / "plain.h5"
    k = tf.keras.layers
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), k.Conv2D(4, 3), k.ReLU()]).save(legacy)
    assert require_known(legacy) == frozenset()


OBJECTS: list[Json] = [
    {"class_name": "Lambda", "config": {}},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
    {"module": "keras.layers", "class_name": "JaxLayer", "config": {}},
    {"module": "keras.layers", "class_name": "FlaxLayer", "config": {}},
    {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
    {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/x"}},
    {"class_name": "__lambda__", "config": {"value": "4wEAAA"}},
    {"module": "os", "class_name": "Dense", "config": {}},
    {"module": "keras.src.saving.saving_lib_test", "class_name": "Dense", "config": {}},
    {"module": "keras.src.layers.core.dense_test", "class_name": "Dense", "config": {}},
    {"module": "kerasx.layers", "class_name": "Dense", "config": {}},
    {"module": ["keras"], "class_name": "Dense", "config": {}},
    {"module": "keras.utils", "class_name": "function", "config": "get_file"},
    {"module": "builtins", "class_name": "function", "config": "eval"},
    {"module": "builtins", "class_name": "function", "config": {"class_name": "Dense"}},
    {"class_name": "Dense", "config": {}, "registered_name": "other>Dense"},
    {"class_name": "Lambda", "config": {}, "registered_name": "porter>Lambda-01234567"},
    {"class_name": "__lambda__", "config": {}, "registered_name": "porter>__lambda__-01234567"},
    {"class_name": "function", "config": "x", "registered_name": "porter>function-01234567"},
    {"class_name": "TypeSpec", "type_spec": "x", "serialized": []},
    {"class_name": "CompositeTensor", "spec": {}, "tensors": []},
    {"class_name": "__typespec__", "spec_name": "x", "module": "os", "config": []},
    {"class_name": ["Lambda"], "config": {}},
    {"class_name": None, "config": {}},
]


def in_initializer(config: Json, item: Json) -> None:
    config["layers"][1]["config"]["kernel_initializer"] = item


def in_wrapper(config: Json, item: Json) -> None:
    config["layers"].append({"class_name": "TimeDistributed", "config": {"layer": item}})


def in_call(config: Json, item: Json) -> None:
    config["layers"][1]["inbound_nodes"][0]["kwargs"] = {"mask": [[{"deep": item}]]}


@pytest.mark.parametrize("place", [in_initializer, in_wrapper, in_call])
@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: str(item["class_name"]))
def test_anything_else_is_refused_wherever_it_stands(
    place: Callable[[Json, Json], None], item: Json, plain: Path, tmp_path: Path
) -> None:
    content = members(plain)
    model = json.loads(content["config.json"])
    place(model["config"], item)
    content["config.json"] = json.dumps(model).encode()
    with pytest.raises(UnsafeFile, match="known layer of Keras"):
        require_known(repacked(tmp_path / "x.keras", content))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(model)
    with pytest.raises(UnsafeFile, match="known layer of Keras"):
        require_known(tmp_path / "x.h5")


def test_a_lambda_never_reaches_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.keras.models, "load_model", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(UnsafeFile, match="nothing of it was run"):
        open_file(HOSTILE / "lam35.h5", Opening())


def external_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.SoftLink("/a")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("b", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
    file.create_virtual_dataset("b", layout)


def never_written(file: h5py.File) -> None:
    file.create_dataset("b", (2**31, 2), "f4", chunks=(1024, 2), compression="gzip")


@pytest.mark.parametrize(
    "harm", [external_link, soft_link, external_storage, virtual, never_written]
)
def test_weights_stay_in_their_file(
    harm: Callable[[h5py.File], None], plain: Path, tmp_path: Path
) -> None:
    """Alone, as a whole model, and inside a `.keras`."""
    content = io.BytesIO()
    for target in (tmp_path / "weights.h5", content):
        with h5py.File(target, "w") as file:
            file["a"] = np.ones(4, np.float32)
            file.attrs["model_config"] = members(plain)["config.json"]
            harm(file)
    weights = {"model.weights.h5": content.getvalue()}
    archive = repacked(tmp_path / "x.keras", members(plain) | weights)
    for attempt in (
        lambda: open_file(tmp_path / "weights.h5", Opening()),
        lambda: require_known(tmp_path / "weights.h5"),
        lambda: require_known(archive),
    ):
        with pytest.raises(UnsafeFile):
            attempt()


def test_three_kilobytes_do_not_become_gigabytes() -> None:
    with pytest.raises(UnsafeFile, match=r"unpacks to 6\.0 GB"):
        open_file(HOSTILE / "bomb.h5", Opening())


def test_weights_larger_than_free_memory(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 100)
    with pytest.raises(OutOfMemory) as caught:
        require_known(plain)
    assert caught.value.exit_code == 2


def test_a_heap_of_strings_that_never_ends(plain: Path, tmp_path: Path) -> None:
    """HDF5's own library would read for ever in the attribute."""
    path = tmp_path / "endless.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential", "config": {}}'
    assert require_known(path) == frozenset()
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    first = heap + 16
    (length,) = struct.unpack_from("<Q", content, first + 8)
    free = first + 16 + -(-length // 8) * 8
    assert struct.unpack_from("<H", content, free) == (0,)
    content[free + 8 : free + 16] = bytes(8)
    path.write_bytes(content)
    weights = {"model.weights.h5": bytes(content)}
    archive = repacked(tmp_path / "endless.keras", members(plain) | weights)
    for attempt in (
        lambda: require_known(path),
        lambda: open_file(path, Opening()),
        lambda: require_known(archive),
    ):
        with pytest.raises(WeightError, match="truncated or damaged"):
            attempt()


def test_archives_hold_nothing_else(plain: Path, tmp_path: Path) -> None:
    content = members(plain)
    with pytest.raises(UnsafeFile, match="more than a model"):
        require_known(repacked(tmp_path / "x.keras", content | {"assets/../x": b""}))
    with zipfile.ZipFile(tmp_path / "twice.keras", "w") as archive:
        archive.writestr("config.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("config.json", content["config.json"])
    with pytest.raises(UnsafeFile, match="a member twice"):
        require_known(tmp_path / "twice.keras")


def test_the_reader_is_the_one_that_keras_will_use(plain: Path, tmp_path: Path) -> None:
    """HDF5 of a plain configuration, followed by a zip archive with a Lambda: two files in one."""
    content = members(plain)
    both = tmp_path / "both.keras"
    with h5py.File(both, "w") as file:
        file.attrs["model_config"] = content["config.json"].decode()
    content["config.json"] = json.dumps({"class_name": "Lambda", "config": {}}).encode()
    archive = repacked(tmp_path / "x.zip", content).read_bytes()
    both.write_bytes(both.read_bytes() + archive)
    with pytest.raises(UnsafeFile):
        open_file(both, Opening())
    with pytest.raises(WeightError, match="ending of their name"):
        require_known(Path(shutil.copy(plain, tmp_path / "plain.bin")))


@pytest.mark.parametrize("config", [b"", b"[]", b"{}", b'{"class_name": 1}', b"[" * 100_000])
def test_no_configuration_at_all(config: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightError):
        require_known(repacked(tmp_path / "x.keras", {"config.json": config}))


def test_only_files_are_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.keras")
    (tmp_path / "y.keras").mkdir()
    for name in ("x.keras", "y.keras"):
        with pytest.raises(UsageError, match="not a file"):
            require_known(tmp_path / name)
    with pytest.raises(PorterError):
        require_known(tmp_path / "missing.h5")


def odd_type(path: Path, data: bytes) -> None:
    """The type of the first string of variable length is none that there is."""
    text = b"\x19\x01\x01\x00\x10\x00\x00\x00"
    assert text in data
    path.write_bytes(data.replace(text, text.replace(b"\x19\x01", b"\x19\x03"), 1))


@pytest.mark.parametrize("place", ["model_config", "group", "array", "references"])
def test_types_that_crash_hdf5_are_not_read(place: str, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        weights = file.create_group("layer")
        weights["bias"] = np.ones(3, np.float32)
        if place == "model_config":
            file.attrs["model_config"] = "{}"
        if place == "group":
            weights.attrs["name"] = "text"
        if place == "array":
            weights.create_dataset("x", (1,), h5py.special_dtype(vlen=np.float32))
        if place == "references":
            weights.attrs["x"] = weights.ref
    if place in ("model_config", "group"):
        odd_type(path, path.read_bytes())
    for read in (require_known, lambda path: open_file(path, Opening())):
        with pytest.raises(UnsafeFile, match="neither numbers nor strings"):
            read(path)
