"""`porter convert --trainable`: a SavedModel that anybody can train on, and formats that cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from porter import torch7
from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit.settings import ExportOptions
from porter.errors import EmitError, UsageError
from porter.system.checksums import MANIFEST
from porter.system.tensorflow import tf
from tests.build import (
    FIXTURES,
    batch_norm,
    conv,
    dropout,
    linear,
    relu,
    sequential,
    torch_module,
    view,
)
from tests.write_t7 import write_t7

NET = sequential(
    conv(1, 4, pad=1),
    batch_norm(4),
    relu(),
    dropout(0.2),
    view(256, sample_rank=3),
    linear(256, 2),
    torch_module("nn.LogSoftMax"),
)
TRAIN = """
import sys
import numpy as np
import tensorflow as tf

assert "porter" not in sys.modules
net = tf.saved_model.load(sys.argv[1])
random = np.random.default_rng(0)
x = random.normal(size=(64, 8, 8, 1)).astype(np.float32)
classes = (x.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
optimizer = tf.keras.optimizers.Adam(0.01)
losses = []
for _ in range(60):
    with tf.GradientTape() as tape:
        scores = net(x, training=True)
        loss = -tf.reduce_mean(tf.gather(scores, classes, batch_dims=1))
    gradients = tape.gradient(loss, net.trainable_variables)
    optimizer.apply_gradients(zip(gradients, net.trainable_variables))
    losses.append(float(loss))
tf.saved_model.save(net, sys.argv[2], signatures=net.signatures)
again = tf.saved_model.load(sys.argv[2])
served = again.signatures["serving_default"](tf.constant(x))["output"]
assert np.array_equal(served, net(x)), "the signature must follow the variables"
print(losses[0], losses[-1])
"""


@pytest.fixture(scope="module")
def trainable(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    folder = tmp_path_factory.mktemp("trainable")
    source = write_t7(folder / "net.t7", NET)
    return convert(
        Request(
            source, folder / "port", input_shapes=((1, 8, 8),), export=ExportOptions(trainable=True)
        )
    )


def test_the_folder_says_what_is_learned(trainable: Conversion) -> None:
    described = json.loads((trainable.output / MANIFEST).read_text())
    assert described["trainable"] == [
        *("1.weight", "1.bias", "2.weight", "2.bias", "6.weight", "6.bias"),
    ]
    assert described["optimized"] == "none"
    (row,) = (row for row in trainable.emitted if row.name == "saved_model")
    assert row.measure is not None
    assert row.measure.max_rel < 1e-5
    assert row.note == "6 of 6 trainable variables have gradients"


def test_the_net_is_trained_on_where_porter_is_not(trainable: Conversion, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    done = subprocess.run(
        [sys.executable, "-I", script, trainable.output / "saved_model", tmp_path / "trained"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, last = map(float, done.stdout.split())
    assert last < first / 2


def test_running_statistics_move_and_signatures_follow(trainable: Conversion) -> None:
    net = tf.saved_model.load(str(trainable.output / "saved_model"))
    x = tf.constant(np.random.default_rng(1).normal(3, 2, (16, 8, 8, 1)), tf.float32)
    before = net(x).numpy()
    assert np.array_equal(before, net.signatures["serving_default"](x)["output"])
    net(x, training=True)
    after = net(x).numpy()
    assert np.abs(after - before).max() > 1e-3
    assert np.array_equal(after, net.signatures["serving_default"](x)["output"])


def test_a_port_that_is_only_run_has_no_training(tmp_path: Path) -> None:
    source = write_t7(tmp_path / "net.t7", sequential(linear(3, 2)))
    done = convert(Request(source, tmp_path / "port", formats=("saved_model",)))
    assert done.manifest["trainable"] is None
    net = tf.saved_model.load(str(done.output / "saved_model"))
    with pytest.raises(TypeError):
        net(tf.zeros([1, 3]), training=True)


@pytest.mark.parametrize("name", ["frozen", "tflite", "source"])
def test_a_format_that_cannot_be_trained_on_is_refused(name: str, tmp_path: Path) -> None:
    source = write_t7(tmp_path / "net.t7", sequential(linear(3, 2)))
    with pytest.raises(UsageError, match=f"'{name}' cannot be trained on") as raised:
        convert(
            Request(
                source,
                tmp_path / "port",
                formats=("keras", name),
                export=ExportOptions(trainable=True),
            )
        )
    assert "saved_model" in str(raised.value)
    assert not (tmp_path / "port").exists()


def test_what_a_saved_model_cannot_store_is_reported(tmp_path: Path) -> None:
    case = torch7.read(FIXTURES / "gradients" / "nn.NormStabilizer" / "seq.t7").root
    source = write_t7(tmp_path / "net.t7", case["module"])
    request = Request(
        source, tmp_path / "port", input_shapes=((2, 3), (2, 3)), formats=("saved_model",)
    )
    assert convert(request).output.exists()
    with pytest.raises(EmitError, match="inside of a loop"):
        convert(replace(request, output=tmp_path / "other", export=ExportOptions(trainable=True)))
    assert not (tmp_path / "other").exists()
